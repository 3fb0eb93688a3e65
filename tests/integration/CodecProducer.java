import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Sends each line of its input as a record: bootstrap servers, codec, topic, partition. */
public class CodecProducer {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings =
                Map.of("bootstrap.servers", arguments[0], "compression.type", arguments[1], "linger.ms", 100);
        ByteArraySerializer bytes = new ByteArraySerializer();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, bytes, bytes)) {
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                producer.send(new ProducerRecord<>(
                        arguments[2],
                        Integer.parseInt(arguments[3]),
                        "k".getBytes(StandardCharsets.UTF_8),
                        line.getBytes(StandardCharsets.UTF_8)));
            }
        }
    }
}
