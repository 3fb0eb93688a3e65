"""`tokenwire acls`: what each kind of process may do at a cluster with an authorizer, printed or made."""

from __future__ import annotations

import os

import click

from infra.kafka.decisions.access_rights import Role, acl_arguments

__all__ = ["acls"]


@click.command()
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([role.value for role in Role]),
    help="Only this role; may be repeated.",
)
@click.option("--principal", "named", multiple=True, metavar="ROLE=NAME", help="User of a role, where it is not ROLE.")
@click.option("--apply", "make", is_flag=True, help="Make the rules at the brokers, as a user that may.")
def acls(roles: tuple[str, ...], named: tuple[str, ...], make: bool) -> None:
    """What each kind of process may do at the brokers, as arguments of kafka-acls.

    The rules are for the line of the settings: its topic prefix, layout and worker group. With --apply they are made,
    and so is a SCRAM-SHA-512 user for each role whose password is in the variable KAFKA_<ROLE>_PASSWORD. Making them
    again changes nothing; nothing is taken away.

    \b
    Examples:
      tokenwire acls --role gateway --principal gateway=chat-gateway
      KAFKA_WORKER_PASSWORD=… tokenwire acls --apply
    """
    from infra.kafka.access_setup import line_rights, make_access
    from tokenwire.line.client_start import client_start

    settings = client_start()
    wanted = [Role(role) for role in roles] or [*Role]
    names = dict(wanted_name(each) for each in named)
    principals = {role: f"User:{names.get(role, role)}" for role in wanted}
    if not make:
        for role, principal in principals.items():
            for right in line_rights(settings, role):
                click.echo(acl_arguments(right, principal))
        return
    found = {role: os.environ.get(f"KAFKA_{role.upper()}_PASSWORD", "") for role in wanted}
    beyond = make_access(settings, principals, {role: password for role, password in found.items() if password})
    for role, principal in principals.items():
        user = ", with its password" if found[role] else ""
        click.echo(f"{principal} may do what a {role} needs{user}")
        for rule in beyond[role]:
            click.echo(f"  beyond that, and left as it is: {rule}")


def wanted_name(text: str) -> tuple[str, str]:
    role, _, name = text.partition("=")
    if role not in [*Role] or name in ("", "*"):
        raise click.BadParameter(f"{text!r} is not ROLE=NAME with one of {', '.join(Role)}", param_hint="--principal")
    return role, name
