/* signals.c: see signals.h. No handler may run on a stack of somebody else's choosing: oneDNN's generated products
 * point the stack pointer into their heap buffers while they compute, and a signal frame written there (3 kB and more
 * with AVX-512) lands on the heap's other tenants. So a thread of its own takes the signals by sigwaitinfo, everybody
 * else has them blocked, and the one handler that must run on the main thread, to show its stack, has an alternate
 * stack. */
#include "worker/signals.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/err.h"

enum { FRAMES = 64, HANDLER_STACK = 256 << 10 };

static atomic_bool stop_requested, checkpoint_requested;
static pid_t main_thread, keeper;

static void fill(sigset_t *set)
{
    static const int all[] = {SIGTERM, SIGINT, SIGUSR1, SIGQUIT};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sigaddset(set, all[i]);
}

/* Runs on the main thread. A signal of its own, because SIGQUIT is blocked there. */
static int stack_signal(void)
{
    return SIGRTMIN;
}

static void show_stack(int signal)
{
    (void)signal;
    static const char title[] = "baka-trainer: SIGQUIT, stack of the main thread:\n";
    int saved = errno;
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES);
    if (write(STDERR_FILENO, title, sizeof title - 1) > 0)
        backtrace_symbols_fd(frames, n, STDERR_FILENO);
    errno = saved;
}

/* The signal's default action, so that exit.json names it. */
static _Noreturn void die_of(int signal)
{
    struct sigaction fall = {.sa_handler = SIG_DFL};
    sigset_t set;
    sigaction(signal, &fall, NULL);
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    for (;;)
        kill(getpid(), signal);
}

static void *take_signals(void *unused)
{
    (void)unused;
    sigset_t set;
    fill(&set);
    int stops_from_keeper = 0, stops_from_others = 0;
    for (;;) {
        siginfo_t info;
        switch (sigwaitinfo(&set, &info)) {
        case SIGTERM:
        case SIGINT:
            atomic_store(&stop_requested, true);
            /* One kill of the process group arrives twice, once through the keeper: counted apart, it is still one. */
            if (info.si_code == SI_USER && info.si_pid == keeper)
                stops_from_keeper++;
            else
                stops_from_others++;
            if (stops_from_keeper > 1 || stops_from_others > 1)
                die_of(SIGTERM);
            break;
        case SIGUSR1:
            atomic_store(&checkpoint_requested, true);
            break;
        case SIGQUIT:
            syscall(SYS_tgkill, getpid(), main_thread, stack_signal());
            break;
        default: /* interrupted */
            break;
        }
    }
    return NULL;
}

void signals_block(void)
{
    sigset_t set;
    fill(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int signals_start(int keeper_pid, struct err *err)
{
    static _Alignas(64) char handler_stack[HANDLER_STACK];
    const stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
    void *frame;
    backtrace(&frame, 1); /* its first call allocates */
    main_thread = (pid_t)syscall(SYS_gettid);
    keeper = keeper_pid;

    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
    action.sa_handler = show_stack;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    if (sigaltstack(&stack, NULL) != 0 || sigaction(stack_signal(), &action, NULL) != 0)
        return err_set(err, ERR_IO, "cannot set up the handler of SIGQUIT");

    pthread_t thread;
    int rc = pthread_create(&thread, NULL, take_signals, NULL);
    if (rc != 0)
        return err_set_errno(err, rc, "cannot start the thread that takes signals");
    pthread_detach(thread);
    return 0;
}

bool signals_stop_requested(void)
{
    return atomic_load(&stop_requested);
}

bool signals_checkpoint_requested(void)
{
    return atomic_load(&checkpoint_requested);
}

void signals_clear_checkpoint_request(void)
{
    atomic_store(&checkpoint_requested, false);
}
