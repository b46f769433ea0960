/* test_client.c: the client against a server that says what the test tells it to, well and badly. The server is a
 * forked child which answers one connection after the other with the given bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/client.h"

static char home[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/baka-client-XXXXXX");
    return mkdtemp(home) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(home, NULL);
}

/* What a request was, for the tests that look at it. */
static void save_request(const char *text, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/request", home);
    (void)file_write_atomic(path, text, size, 0600, NULL);
}

static void answer_one(int fd, const char *answer, int linger_ms)
{
    char request[65536];
    size_t size = 0;
    while (size < sizeof request - 1) {
        ssize_t n = read(fd, request + size, sizeof request - 1 - size);
        if (n <= 0)
            break;
        size += (size_t)n;
        request[size] = '\0';
        const char *end = strstr(request, "\r\n\r\n"), *length = strstr(request, "Content-Length: ");
        if (end && (!length || size >= (size_t)(end + 4 - request) + strtoul(length + 16, NULL, 10)))
            break;
    }
    save_request(request, size);
    (void)file_write_all(fd, answer, strlen(answer), "socket", NULL);
    usleep((useconds_t)linger_ms * 1000);
    close(fd);
}

static pid_t serve(const char *answer, int linger_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/bakad.sock", home);
    unlink(address.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 5), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGPIPE, SIG_IGN);
        for (;;) {
            int fd = accept(listener, NULL, NULL);
            if (fd < 0)
                _exit(1);
            answer_one(fd, answer, linger_ms);
        }
    }
    close(listener);
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int request_once(const char *answer, const cJSON *body, cJSON **out, struct err *err)
{
    struct client *c = NULL;
    pid_t server = serve(answer, 0);
    assert_int_equal(client_create(home, &c, err), 0);
    int rc = client_request(c, body ? "POST" : "GET", "/v1/status", body, out, err);
    client_destroy(c);
    stop(server);
    return rc;
}

static void test_no_daemon(void **state)
{
    (void)state;
    struct client *c = NULL;
    struct err err = {0};
    char path[128];
    assert_int_equal(client_create(home, &c, &err), 0);
    assert_int_equal(client_get(c, "/v1/status", NULL, &err), -ERR_UNAVAILABLE);
    char wanted[256];
    snprintf(wanted, sizeof wanted, "no daemon is serving %s: start one with `bakad --home %s`", home, home);
    assert_string_equal(err.message, wanted);
    /* a socket that nobody listens on any more */
    stop(serve("", 0));
    snprintf(path, sizeof path, "%s/bakad.sock", home);
    assert_true(file_exists(path));
    assert_int_equal(client_get(c, "/v1/status", NULL, &err), -ERR_UNAVAILABLE);
    assert_string_equal(err.message, wanted);
    client_destroy(c);
}

static void test_socket_path_too_long(void **state)
{
    (void)state;
    struct client *c = NULL;
    struct err err = {0};
    char long_home[200];
    for (size_t n = 95; n <= 98; n++) { /* "/bakad.sock" has 11 bytes */
        memset(long_home, 'x', n);
        long_home[0] = '/';
        long_home[n] = '\0';
        int rc = client_create(long_home, &c, &err);
        assert_int_equal(rc, n + 11 <= 107 ? 0 : -ERR_TOO_LARGE);
        if (rc)
            assert_non_null(strstr(err.message, "107"));
        else
            client_destroy(c);
    }
}

static void test_request(void **state)
{
    (void)state;
    struct err err = {0};
    cJSON *out = NULL, *body = cJSON_CreateObject();
    cJSON_AddNumberToObject(body, "lr", 0.1);
    cJSON_AddStringToObject(body, "a", "b");
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* must not matter */
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    assert_int_equal(request_once("HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{\"ok\":42}", body, &out, &err), 0);
    assert_int_equal(cJSON_GetObjectItem(out, "ok")->valueint, 42);
    cJSON_Delete(out);
    cJSON_Delete(body);
    char path[128], *request;
    size_t size;
    snprintf(path, sizeof path, "%s/request", home);
    assert_int_equal(file_read_all(path, 65536, &request, &size, NULL), 0);
    assert_ptr_equal(strstr(request, "POST /v1/status HTTP/1.1\r\n"), request);
    assert_non_null(strstr(request, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(request, "\r\n\r\n{\"a\":\"b\",\"lr\":0.1}"));
    assert_null(strstr(request, "Expect"));
    free(request);
}

static void test_error_answers(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int code;
        const char *message, *path;
    } cases[] = {
        {"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
         "{\"error\":{\"code\":\"invalid\",\"message\":\"too small\",\"path\":\"model.dim\"}}\n",
         ERR_INVALID, "too small", "model.dim"},
        {"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n{\"error\":{\"code\":\"not_found\",\"message\":\"no run "
         "x\"}}",
         ERR_NOT_FOUND, "no run x", ""},
        /* an answering daemon is never "no daemon" */
        {"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n{\"error\":{\"code\":\"unavailable\",\"message\":\"later\"}} ",
         ERR_BUSY, "later", ""},
        {"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", ERR_INTERNAL, "status 500", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\noops", ERR_DAMAGED, "not JSON", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"torn\":", ERR_UNAVAILABLE, "went away", ""},
        {"", ERR_UNAVAILABLE, "went away", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        cJSON *out = NULL;
        assert_int_equal(request_once(cases[i].answer, NULL, &out, &err), -cases[i].code);
        assert_null(out);
        if (!strstr(err.message, cases[i].message))
            fail_msg("%zu: %s", i, err.message);
        assert_string_equal(err.path, cases[i].path);
    }
}

static void test_url(void **state)
{
    (void)state;
    struct client_url u;
    client_url_start(&u, "/v1/runs");
    client_url_segment(&u, "a b/../?x");
    client_url_segment(&u, "..");
    client_url_param(&u, "limit", "%d", 200);
    client_url_param(&u, "ref", "%s", "\xc3\xa9&=");
    assert_string_equal(client_url_text(&u), "/v1/runs/a%20b%2F..%2F%3Fx/%2E%2E?limit=200&ref=%C3%A9%26%3D");
    client_url_finish(&u);
}

struct seen {
    int events, ticks, stop_at;
    double last;
};

static int on_event(void *arg, const char *event, const cJSON *data)
{
    struct seen *s = arg;
    assert_string_equal(event, "step");
    s->last = cJSON_GetObjectItem(data, "loss")->valuedouble;
    return ++s->events == s->stop_at;
}

static int on_tick(void *arg)
{
    ((struct seen *)arg)->ticks++;
    return 0;
}

#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

static int stream_once(const char *answer, int linger_ms, int64_t timeout_ms, struct seen *seen, struct err *err)
{
    struct client *c = NULL;
    struct client_stream stream = {.on_event = on_event, .on_tick = on_tick, .arg = seen, .timeout_ms = timeout_ms};
    pid_t server = serve(answer, linger_ms);
    assert_int_equal(client_create(home, &c, err), 0);
    int rc = client_stream(c, "/v1/stream", &stream, err);
    client_destroy(c);
    stop(server);
    return rc;
}

static void test_stream(void **state)
{
    (void)state;
    static const char two[] =
        STREAM_HEAD ": hi\n\nevent: step\ndata: {\"loss\":2.5}\n\nevent: step\ndata: {\"loss\":1.5}\n\n";
    struct err err = {0};
    struct seen seen = {0};
    assert_int_equal(stream_once(two, 0, 0, &seen, &err), CLIENT_STREAM_ENDED);
    assert_int_equal(seen.events, 2);
    assert_true(seen.last == 1.5 && seen.ticks > 0);
    seen = (struct seen){.stop_at = 1};
    assert_int_equal(stream_once(two, 2000, 0, &seen, &err), CLIENT_STREAM_STOPPED);
    assert_int_equal(seen.events, 1);
    seen = (struct seen){0};
    assert_int_equal(stream_once(two, 5000, 300, &seen, &err), CLIENT_STREAM_TIMED_OUT);
    assert_int_equal(seen.events, 2);
    seen = (struct seen){0};
    assert_int_equal(stream_once(STREAM_HEAD "data: {torn\n\n", 0, 0, &seen, &err), -ERR_DAMAGED);
    assert_int_equal(stream_once("HTTP/1.1 404 No\r\nConnection: close\r\n\r\n"
                                 "{\"error\":{\"code\":\"not_found\",\"message\":\"no run x\"}}",
                                 0, 0, &seen, &err),
                     -ERR_NOT_FOUND);
    assert_string_equal(err.message, "no run x");
    /* chunked, and cut before its end: the daemon died */
    assert_int_equal(
        stream_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n: hi\n\r\n", 0, 0, &seen, &err),
        -ERR_UNAVAILABLE);
    assert_int_equal(seen.events, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_daemon, set_up, tear_down),
        cmocka_unit_test(test_socket_path_too_long),
        cmocka_unit_test_setup_teardown(test_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_error_answers, set_up, tear_down),
        cmocka_unit_test(test_url),
        cmocka_unit_test_setup_teardown(test_stream, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
