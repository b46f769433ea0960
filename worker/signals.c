/* signals.c: see signals.h. Handlers only set flags, except for SIGQUIT's backtrace, whose library is loaded beforehand
 * because its first call allocates. */
#include "worker/signals.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FRAMES = 64 };

static volatile sig_atomic_t stop_requested, checkpoint_requested;
static volatile sig_atomic_t stops_from_keeper, stops_from_others;
static pid_t main_thread, keeper;

static void on_stop(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    stop_requested = 1;
    /* One kill of the process group arrives twice, once through the keeper: counted apart, it is still one. */
    if (info->si_code == SI_USER && info->si_pid == keeper)
        stops_from_keeper++;
    else
        stops_from_others++;
    if (stops_from_keeper > 1 || stops_from_others > 1) {
        struct sigaction die = {.sa_handler = SIG_DFL};
        sigaction(SIGTERM, &die, NULL);
        kill(getpid(), SIGTERM); /* delivered when this handler returns; exit.json then names the signal */
    }
}

static void on_checkpoint(int signal)
{
    (void)signal;
    checkpoint_requested = 1;
}

static void on_stacks(int signal)
{
    int saved = errno;
    if ((pid_t)syscall(SYS_gettid) != main_thread) {
        syscall(SYS_tgkill, getpid(), main_thread, signal);
    } else {
        static const char title[] = "baka-trainer: SIGQUIT, stack of the main thread:\n";
        void *frames[FRAMES];
        int n = backtrace(frames, FRAMES);
        if (write(STDERR_FILENO, title, sizeof title - 1) > 0)
            backtrace_symbols_fd(frames, n, STDERR_FILENO);
    }
    errno = saved;
}

static void fill(sigset_t *set)
{
    static const int all[] = {SIGTERM, SIGINT, SIGUSR1, SIGQUIT};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sigaddset(set, all[i]);
}

void signals_block(void)
{
    sigset_t set;
    fill(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void signals_install(int keeper_pid)
{
    void *frame;
    backtrace(&frame, 1);
    main_thread = (pid_t)syscall(SYS_gettid);
    keeper = keeper_pid;

    struct sigaction action = {.sa_flags = SA_RESTART};
    sigset_t set;
    fill(&set);
    action.sa_mask = set;
    action.sa_handler = on_checkpoint;
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = on_stacks;
    sigaction(SIGQUIT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
    action.sa_flags = SA_RESTART | SA_SIGINFO;
    action.sa_sigaction = on_stop;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

bool signals_stop_requested(void)
{
    return stop_requested;
}

bool signals_take_checkpoint_request(void)
{
    if (!checkpoint_requested)
        return false;
    checkpoint_requested = 0;
    return true;
}
