/* interrupt.c: see interrupt.h. */
#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

/* Without SA_RESTART, so that a read of a terminal or pipe is interrupted too. */
static void set_handler(void (*handler)(int))
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = handler}, before;
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], NULL, &before);
        if (before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

void interrupt_catch(void)
{
    set_handler(on_signal);
}

int interrupt_caught(void)
{
    return caught;
}

void interrupt_release(void)
{
    set_handler(SIG_DFL);
}

void interrupt_deliver(void)
{
    if (caught)
        raise(caught);
}
