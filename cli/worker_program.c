/* worker_program.c: see worker_program.h. Input and error output are unnamed files, so that neither side waits for the
 * other; only the output is a pipe. */
#include "cli/worker_program.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/err.h"
#include "base/json.h"
#include "base/path.h"

extern char **environ;

static int spawn(const char *program, const struct worker_program *p, int in, int out, int errors, pid_t *pid,
                 struct err *err)
{
    const char *argv[WORKER_PROGRAM_ARGUMENTS + 1] = {program};
    for (int i = 0; i < WORKER_PROGRAM_ARGUMENTS - 1 && p->arguments[i]; i++)
        argv[i + 1] = p->arguments[i];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    int rc = posix_spawn(pid, program, &actions, NULL, (char *const *)(const void *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc ? err_set_errno(err, rc, "cannot start %.400s", program) : 0;
}

static int read_output(int fd, const struct worker_program *p, struct err *err)
{
    char block[1 << 16];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, errno, "cannot read what baka-worker writes");
        int rc = p->on_output ? p->on_output(p->arg, block, (size_t)n, err) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The last line, without the program's name. */
static int tell_failure(FILE *errors, int status, struct err *err)
{
    char line[600] = "", last[600] = "";
    static const char name[] = "baka-worker: ";
    rewind(errors);
    while (fgets(line, sizeof line, errors))
        memcpy(last, line, sizeof last);
    last[strcspn(last, "\n")] = 0;
    if (WIFSIGNALED(status))
        return err_set(err, ERR_INTERNAL, "baka-worker was ended by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    const char *text = strncmp(last, name, sizeof name - 1) == 0 ? last + sizeof name - 1 : last;
    return err_set(err, ERR_INVALID, "%s", *text ? text : "baka-worker failed and did not say why");
}

static int run(const char *program, const struct worker_program *p, FILE *input, FILE *errors, struct err *err)
{
    int out[2], status = 0;
    pid_t pid;
    if (pipe2(out, O_CLOEXEC) != 0)
        return err_set_errno(err, errno, "cannot make a pipe");
    int rc = spawn(program, p, fileno(input), out[1], fileno(errors), &pid, err);
    close(out[1]);
    if (rc != 0) {
        close(out[0]);
        return rc;
    }
    rc = read_output(out[0], p, err);
    close(out[0]);
    if (rc != 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return rc == 0 && status != 0 ? tell_failure(errors, status, err) : rc;
}

int worker_program_run(const struct worker_program *p, struct err *err)
{
    char program[PATH_SIZE];
    int rc = path_sibling_program("baka-worker", program, err);
    if (rc != 0)
        return rc;
    FILE *input = tmpfile(), *errors = tmpfile();
    if (!input || !errors)
        rc = err_set_errno(err, errno, "cannot make a temporary file");
    else if (p->input_size > 0 && (fwrite(p->input, 1, p->input_size, input) != p->input_size || fflush(input) != 0))
        rc = err_set_errno(err, errno, "cannot write a temporary file");
    if (rc == 0) {
        rewind(input);
        rc = run(program, p, input, errors, err);
    }
    if (input)
        fclose(input);
    if (errors)
        fclose(errors);
    return rc;
}

void worker_program_add(struct worker_program *p, const char *argument)
{
    int n = 0;
    while (p->arguments[n])
        n++;
    assert(n + 1 < WORKER_PROGRAM_ARGUMENTS);
    p->arguments[n] = argument;
}

struct text {
    char *bytes;
    size_t size;
};

static int keep_output(void *arg, const char *bytes, size_t size, struct err *err)
{
    struct text *t = arg;
    char *grown = realloc(t->bytes, t->size + size);
    if (!grown)
        return err_set(err, ERR_NO_MEMORY, "no memory for what baka-worker writes");
    memcpy(grown + t->size, bytes, size);
    t->bytes = grown;
    t->size += size;
    return 0;
}

int worker_program_ask(struct worker_program *p, cJSON **answer, struct err *err)
{
    struct text text = {0};
    p->on_output = keep_output;
    p->arg = &text;
    int rc = worker_program_run(p, err);
    if (rc == 0)
        rc = json_parse(text.bytes ? text.bytes : "", text.size, &(struct json_limits){1 << 16, 32},
                        "what baka-worker says", answer, err);
    free(text.bytes);
    return rc;
}
