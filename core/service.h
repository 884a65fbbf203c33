#pragma once

/*
 * service is what a daemon owes the world around it: signals as flags, one word when it is ready
 * (sd_notify and --ready-fd), one when it stops.
 */

#include <stdbool.h>

/* How much less nice a preferred thread is. */
#define SERVICE_PREFERENCE 10

/* Blocks SIGINT, SIGTERM, SIGHUP and SIGPIPE for the whole process; call before any thread starts.
 */
int service_init(void);

/*
 * This thread, and those that it starts, go before others of the machine from now on: for whoever
 * does little and is waited for. -EACCES, -EPERM: that is not allowed (root, CAP_SYS_NICE or
 * RLIMIT_NICE); all stays as it is, and works, only later where processors are short.
 */
int service_prefer_thread(void);
/* Takes that back for this thread, not for those that it started. Only after it returned 0. */
void service_prefer_thread_no_more(void);

enum service_event { SERVICE_TIMEOUT = 0, SERVICE_STOP, SERVICE_RELOAD };

/* Waits for a signal or the timeout; a negative timeout waits for ever. */
enum service_event service_wait(int timeout_ms);

/* Whether service_ready() can write there: somebody opened `fd` before this program started. */
bool service_fd_is_open(int fd);

/*
 * Says READY=1 and the status to sd_notify where there is one, and writes "ready STATUS\n" to
 * ready_fd (>= 0) and closes it.
 */
void service_ready(int ready_fd, const char *status);
void service_stopping(void);
