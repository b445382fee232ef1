/* Signals of the process, without handlers running at odd moments.
 *
 * host_signals_block is called from the main thread before any other thread exists: SIGTERM, SIGINT and SIGHUP are then kept for host_signal_wait, and
 * SIGPIPE is ignored (writes to a closed peer give an error instead). */
#ifndef CUPEL_HOST_SIGNALS_H
#define CUPEL_HOST_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

void host_signals_block(void);
enum host_signal { HOST_SIGNAL_NONE, HOST_SIGNAL_TERMINATE, HOST_SIGNAL_INTERRUPT, HOST_SIGNAL_RELOAD };
/* The next of SIGTERM, SIGINT, SIGHUP; HOST_SIGNAL_NONE after timeout_ms (-1: no limit). */
enum host_signal host_signal_wait(int64_t timeout_ms);

void host_ignore_broken_pipes(void); /* SIGPIPE alone: for commands that do not wait for signals */

/* Ctrl-C as a question: from begin on SIGINT sets a flag instead of ending the process. One user at a time. */
void host_interrupts_begin(void);
void host_interrupts_end(void);
bool host_interrupted(void); /* since the last clear */
void host_interrupts_clear(void);

#endif
