import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.regex.Pattern;

/** Posts 15 changes one by one, each under an Idempotency-Key of its own, until each has an answer.
 *
 * Prints a line per answer: the id of the job, and whether an earlier post had made it. */
class Repeat {
    static final Pattern JOB = Pattern.compile("\"id\": ?\"([^\"]+)\".*\"duplicate\": ?(true|false)");
    static final HttpClient CLIENT = HttpClient.newHttpClient(); // it offers to speak HTTP/2

    public static void main(String[] args) throws InterruptedException {
        for (int number = 0; number < 15; number++) {
            var job = JOB.matcher(post(args[0], args[1], args[2], number));
            if (!job.find()) throw new IllegalStateException("an answer without a job");
            System.out.println(job.group(1) + " " + job.group(2));
        }
    }

    static String post(String url, String key, String account, int number) throws InterruptedException {
        var change = """
            {"account": "%s", "action": "create", "relationtype": "estate:address:buyer", "parentid": %d, "childid": 9001,
             "batch": "java"}""".formatted(account, 800 + number);
        var request = HttpRequest.newBuilder(URI.create(url + "/v1/changes"))
            .header("Authorization", "Bearer " + key)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", "java-" + number)
            .header("Prefer", "wait=5")
            .POST(HttpRequest.BodyPublishers.ofString(change))
            .build();
        while (true) {
            try {
                var answer = CLIENT.send(request, BodyHandlers.ofString());
                if (answer.statusCode() < 300) return answer.body();
                if (answer.statusCode() < 500) throw new IllegalStateException(answer.body());
            } catch (IOException away) {
                // It is being restarted: the same again.
            }
            Thread.sleep(100);
        }
    }
}
