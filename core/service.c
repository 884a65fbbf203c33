/*
 * Signals arrive through a signalfd: no handler ever interrupts a thread, and the main loop meets a
 * signal where it waits anyway.
 */

#include "core/service.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "core/clock.h"

static int service_signal_fd = -1;

int service_init(void)
{
	sigset_t blocked;
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGINT);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigaddset(&blocked, SIGHUP);

	/* SIGPIPE is blocked and not waited for: whoever writes gets EPIPE, and that is enough. */
	int fd = signalfd(service_signal_fd, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	service_signal_fd = fd;
	(void)sigaddset(&blocked, SIGPIPE);
	return -pthread_sigmask(SIG_BLOCK, &blocked, NULL);
}

/* Linux keeps it for each thread: 0 is the one that calls. */
static int service_add_niceness(int niceness)
{
	errno = 0;
	int before = getpriority(PRIO_PROCESS, 0);
	if (errno != 0 || setpriority(PRIO_PROCESS, 0, before + niceness) < 0)
		return -errno;
	return 0;
}

int service_prefer_thread(void)
{
	return service_add_niceness(-SERVICE_PREFERENCE);
}

void service_prefer_thread_no_more(void)
{
	(void)service_add_niceness(SERVICE_PREFERENCE); /* Being nicer is always allowed. */
}

/*
 * A stop may take a while: what is unsent is sent first. Whoever presses Ctrl-C a second time does
 * not want to wait for that.
 */
static void service_let_interrupt_kill(void)
{
	sigset_t interrupt;
	(void)sigemptyset(&interrupt);
	(void)sigaddset(&interrupt, SIGINT);
	(void)pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

/* All signals that are there; a stop wins over a reload. */
static enum service_event service_take_signals(void)
{
	enum service_event event = SERVICE_TIMEOUT;
	struct signalfd_siginfo taken;
	while (read(service_signal_fd, &taken, sizeof(taken)) == (ssize_t)sizeof(taken)) {
		if (taken.ssi_signo != SIGHUP)
			event = SERVICE_STOP;
		else if (event != SERVICE_STOP)
			event = SERVICE_RELOAD;
	}
	if (event == SERVICE_STOP)
		service_let_interrupt_kill();
	return event;
}

/* Until a moment, for poll(): rounded up, so that it is not asked again for the rest of one. */
static int service_left_ms(uint64_t until_ns)
{
	uint64_t now_ns = clock_monotonic_ns(clock_real());
	return now_ns >= until_ns ? 0 : (int)((until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

enum service_event service_wait(int timeout_ms)
{
	assert(service_signal_fd >= 0);
	uint64_t until_ns = clock_monotonic_ns(clock_real()) +
	                    (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * NS_PER_MS;
	for (;;) {
		struct pollfd signals = { .fd = service_signal_fd, .events = POLLIN };
		int ready = poll(&signals, 1, timeout_ms < 0 ? -1 : service_left_ms(until_ns));
		if (ready == 0)
			return SERVICE_TIMEOUT;
		if (ready < 0) {
			assert(errno == EINTR || errno == EAGAIN || errno == ENOMEM);
			continue;
		}
		enum service_event event = service_take_signals();
		if (event != SERVICE_TIMEOUT)
			return event;
	}
}

bool service_fd_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

void service_ready(int ready_fd, const char *status)
{
	(void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
	if (ready_fd < 0)
		return;
	/* Nobody may be reading any more; that is not the service's trouble. */
	(void)dprintf(ready_fd, "ready %s\n", status);
	(void)close(ready_fd);
}

void service_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}
