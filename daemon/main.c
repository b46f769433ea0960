/* main.c: bakad from its arguments to its end.
 *
 * Start: settings, state directory, its lock (one daemon a directory), the store, the socket, then the supervisor,
 * which adopts what runs and begins to launch. A failure up to the socket is one line on standard error and exit 1.
 *
 * End, by SIGTERM or SIGINT: no new connections, streams end, no launches; when the work in flight on libuv's threads
 * has left, the store drains and closes; its last answers leave; the parts are freed. Workers go on. A second signal,
 * or GIVE_UP_MS without an end, leaves at once: the store is made for that.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cjson/cJSON.h>
#include <uv.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/spare.h"
#include "daemon/api.h"
#include "daemon/bakad.h"
#include "daemon/config.h"
#include "daemon/executor_local.h"
#include "daemon/home.h"
#include "daemon/http.h"
#include "daemon/nvml.h"
#include "daemon/query.h"
#include "daemon/store.h"
#include "daemon/stream.h"
#include "daemon/supervisor.h"

enum { GIVE_UP_MS = 5000, EXIT_CANNOT_SERVE = 1, EXIT_USAGE = 2 };

static const struct http_route *const tables[] = {
    api_status_routes,
    api_runs_routes,
    api_change_routes,
    api_submit_routes,
    api_jobs_routes,
    api_steps_routes,
    api_gpu_routes,
    api_log_routes,
    api_import_routes,
    api_compare_routes,
    api_query_routes,
    stream_routes,
    NULL,
};

struct program {
    struct bakad bakad;
    struct config config;
    struct nvml nvml;
    uv_signal_t signals[2];
    uv_timer_t give_up;
    bool ending;
};

static void on_http_closed(void *arg)
{
    struct program *p = arg;
    supervisor_destroy(p->bakad.supervisor);
    stream_hub_destroy(p->bakad.streams);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&p->signals[i], NULL);
    uv_close((uv_handle_t *)&p->give_up, NULL);
}

static void on_store_closed(void *arg)
{
    struct program *p = arg;
    http_close(p->bakad.http, on_http_closed, p);
}

static void on_settled(struct bakad *b)
{
    b->settled = NULL; /* once */
    store_close(b->store, on_store_closed, (struct program *)(void *)b);
}

static void on_give_up(uv_timer_t *timer)
{
    (void)timer;
    log_event(LOG_LEVEL_ERROR, "ended_hard", "after_ms=%d", GIVE_UP_MS);
    _exit(0);
}

static void on_signal(uv_signal_t *handle, int signal)
{
    struct program *p = handle->data;
    if (p->ending)
        _exit(0);
    p->ending = true;
    query_end();
    log_event(LOG_LEVEL_INFO, "ending", "signal=%d", signal);
    uv_timer_start(&p->give_up, on_give_up, GIVE_UP_MS, 0);
    p->bakad.stopping = true;
    http_stop_listening(p->bakad.http);
    supervisor_stop(p->bakad.supervisor);
    bakad_enter(&p->bakad);
    bakad_leave(&p->bakad);
}

static void describe_machine(struct program *p)
{
    struct err why = {0};
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    nvml_discover(&p->nvml, &why);
    p->bakad.nvml = &p->nvml;
    p->bakad.machine.cpu_slots = p->config.cpu_slots;
    p->bakad.machine.gpu_count = p->nvml.gpu_count;
    for (int i = 0; i < p->nvml.gpu_count; i++)
        p->bakad.machine.gpu_memory_mib[i] = (int64_t)(p->nvml.gpus[i].memory_bytes >> 20);
    p->bakad.memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    log_event(LOG_LEVEL_INFO, "machine", "cpu_slots=%d gpus=%d nvml=\"%s\"", p->config.cpu_slots, p->nvml.gpu_count,
              why.message[0] ? why.message : "found");
}

/* A worker that can never start would let each run fail at its launch, so it is refused here, once. */
static int find_worker(struct config *c, struct err *err)
{
    char given[PATH_SIZE];
    struct err own;
    if (c->worker[0] == '\0')
        return path_sibling_program("baka-worker", c->worker, err);
    memcpy(given, c->worker, sizeof given);
    int rc = path_absolute(given, c->worker, err); /* a run's directory is the worker's current one */
    if (rc == 0 && executor_check_worker(c->worker, &own) != 0)
        rc =
            err_set(err, own.code,
                    "%s; give the path of baka-worker by --worker, BAKA_WORKER or \"worker\" in the configuration file,"
                    " or leave it out to take the one beside bakad",
                    own.message);
    return rc;
}

static void warn_lost_database(const char *home, const char *database)
{
    if (home_lost_database(home, database))
        log_event(
            LOG_LEVEL_WARN, "database_empty",
            "database=%s meaning=\"%s/runs has runs that no database knows: their records are lost unless "
            "baka.db is restored from a copy; run numbers begin anew, and old directories in their way are renamed to "
            "*.foreign-*\"",
            database, home);
}

/* Everything up to the socket. */
static int open_parts(struct program *p, struct err *err)
{
    struct bakad *b = &p->bakad;
    char socket_path[PATH_SIZE], database[PATH_SIZE];
    int lock_fd;
    int rc = path_format(socket_path, err, "%s/bakad.sock", p->config.home);
    if (rc == 0)
        rc = http_check_path(socket_path, err); /* before anything is made */
    if (rc == 0)
        rc = home_prepare(p->config.home, err);
    if (rc == 0)
        rc = home_lock(p->config.home, &lock_fd, err);
    if (rc == 0)
        rc = find_worker(&p->config, err);
    if (rc == 0)
        rc = path_format(database, err, "%s/baka.db", p->config.home);
    if (rc == 0)
        warn_lost_database(p->config.home, database);
    if (rc == 0)
        rc = store_open(b->loop, database, &b->store, err);
    if (rc == 0)
        rc = stream_hub_create(b, &b->streams, err);
    if (rc == 0)
        rc = supervisor_create(b, &b->supervisor, err);
    if (rc == 0)
        rc = http_open(b->loop, socket_path, tables, b, &b->http, err);
    return rc;
}

static int serve(struct program *p)
{
    struct err err = {0};
    uv_loop_t *loop = uv_default_loop();
    p->bakad.loop = loop;
    p->bakad.config = &p->config;
    p->bakad.started_ms = clock_wall_ms();
    p->bakad.settled = on_settled;
    if (open_parts(p, &err) != 0) {
        fprintf(stderr, "bakad: %s\n", err.message);
        return EXIT_CANNOT_SERVE;
    }
    describe_machine(p);
    uv_timer_init(loop, &p->give_up);
    for (int i = 0; i < 2; i++) {
        uv_signal_init(loop, &p->signals[i]);
        p->signals[i].data = p;
        uv_signal_start(&p->signals[i], on_signal, i == 0 ? SIGTERM : SIGINT);
    }
    log_event(LOG_LEVEL_INFO, "serving", "home=%s pid=%d", p->config.home, (int)getpid());
    supervisor_start(p->bakad.supervisor);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    uv_library_shutdown();
    log_event(LOG_LEVEL_INFO, "ended", "home=%s", p->config.home);
    return 0;
}

int main(int argc, char **argv)
{
    static struct program program;
    struct err err = {0};
    /* glibc raises this bound when a large block is freed, and then keeps what a comparison of long runs took */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    if (config_load(argc, argv, getenv, &program.config, &err) != 0) {
        bool flag = config_is_usage_error(&err);
        /* a message that names its place is not given it twice; "--" is no flag, but the command line as a whole */
        bool place = err.path[0] != '\0' && strcmp(err.path, "--") != 0 && strstr(err.message, err.path) == NULL;
        fprintf(stderr, "bakad: %s%s%s%s\n", place ? err.path : "", place ? ": " : "", err.message,
                flag ? " (see bakad --help)" : "");
        return flag ? EXIT_USAGE : EXIT_CANNOT_SERVE;
    }
    if (program.config.action == CONFIG_HELP) {
        config_print_help(stdout);
        return 0;
    }
    if (program.config.action == CONFIG_VERSION) {
        printf("bakad %s\n", BAKA_VERSION);
        return 0;
    }
    /* JSON that is built piece by piece has no way to say that a piece is missing. */
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = spare_malloc, .free_fn = free});
    spare_keep();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is a full disk (EFBIG), not a death */
    log_set_level(program.config.log_level);
    return serve(&program);
}
