#!/bin/sh
# An authority of this deployment's own, and what it signs: each broker's certificate, and the one of whoever gives out
# rights. Made once, in ./tls-inside; what is there is left alone, so a certificate is renewed by removing its file.
# The authority's key stays on this machine: no container is given it.
set -eu
cd "$(dirname "$0")"
DAYS=825
umask 077
mkdir -p tls-inside
cd tls-inside

made() {
    [ -s "$1" ]
}

new_key() {
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"
}

if ! made ca.pem; then
    new_key ca.key
    openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=tokenwire-authority" \
        -addext "keyUsage=critical,keyCertSign" -out ca.pem
fi

# sign FILE COMMON-NAME ALTERNATIVE-NAME: key and certificate in one file
sign() {
    made "$1.pem" && return
    new_key "$1.key"
    openssl req -new -key "$1.key" -subj "/CN=$2" -out "$1.csr"
    printf '%s\n' "subjectAltName=$3" "basicConstraints=CA:FALSE" "extendedKeyUsage=serverAuth,clientAuth" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$DAYS" -extfile "$1.ext" -out "$1.crt"
    cat "$1.key" "$1.crt" >"$1.new"
    rm "$1.key" "$1.csr" "$1.ext" "$1.crt"
    mv "$1.new" "$1.pem"
}

for broker in kafka-1 kafka-2 kafka-3; do
    sign "$broker" tokenwire-broker "DNS:$broker"
done
sign administrator tokenwire-administrator DNS:administrator

# Containers run as users of their own. What they are given must be readable to them, and the folder to nobody else.
chmod 644 ca.pem kafka-?.pem administrator.pem
