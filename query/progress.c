/*
 * A thread that wakes twice a second while a verb blocks in a call. It prints nothing in the first
 * two seconds, and is not even started where stderr is no terminal.
 */

#include "query/progress.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

#define PROGRESS_QUIET_NS (2 * NS_PER_S)
#define PROGRESS_STEP_NS  (NS_PER_S / 2)

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool running;
	bool stop;
	bool shown;
	char doing[200];
	uint64_t done;
	uint64_t total;
	uint64_t began_ns;
	bool (*ask)(void *owner, uint64_t *ret_done, uint64_t *ret_total);
	void *owner;
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void progress_clear_line(void)
{
	if (progress.shown)
		fputs("\r\033[K", stderr);
	progress.shown = false;
}

static void progress_draw(uint64_t now_ns)
{
	unsigned long long seconds = (now_ns - progress.began_ns) / NS_PER_S;
	char state[64], part[24] = "";
	if (progress.total)
		snprintf(part, sizeof(part), "  %.0f %%",
		        100.0 * (double)progress.done / (double)progress.total);
	int state_count = snprintf(state, sizeof(state), "%s  %llu s", part, seconds);

	/* A line that wraps cannot be wiped by going back to its start. */
	struct winsize size;
	int doing_count = (int)strlen(progress.doing);
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
	        doing_count > size.ws_col - state_count - 1)
		doing_count = size.ws_col - state_count - 1;
	if (doing_count < 0)
		doing_count = 0;
	fprintf(stderr, "\r\033[K%.*s%s", doing_count, progress.doing, state);
	fflush(stderr);
	progress.shown = true;
}

/* The asking is not under the lock: it may take as long as a network does. */
static void progress_find_out(void)
{
	uint64_t done, total;
	if (!progress.ask)
		return;
	pthread_mutex_unlock(&progress.lock);
	bool is_known = progress.ask(progress.owner, &done, &total);
	pthread_mutex_lock(&progress.lock);
	if (is_known && !progress.stop) {
		progress.done = done;
		progress.total = total;
		progress_draw(clock_monotonic_ns(clock_real()));
	}
}

static void *progress_run(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&progress.lock);
	while (!progress.stop) {
		uint64_t now_ns = clock_monotonic_ns(clock_real());
		if (now_ns - progress.began_ns >= PROGRESS_QUIET_NS) {
			progress_draw(now_ns);
			progress_find_out();
			if (progress.stop)
				break;
		}
		uint64_t until_ns = now_ns + PROGRESS_STEP_NS;
		struct timespec until = {
			.tv_sec = (time_t)(until_ns / NS_PER_S),
			.tv_nsec = (long)(until_ns % NS_PER_S),
		};
		(void)pthread_cond_timedwait(&progress.changed, &progress.lock, &until);
	}
	progress_clear_line();
	fflush(stderr);
	pthread_mutex_unlock(&progress.lock);
	return NULL;
}

/* Under the lock. */
static void progress_set_words(const char *doing)
{
	snprintf(progress.doing, sizeof(progress.doing), "%s", doing);
	for (char *at = progress.doing; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f || (unsigned char)*at >= 0x80)
			*at = '?'; /* A selector or a file's name: only plain text goes to the
			              screen. */
}

void progress_say(const char *doing)
{
	pthread_mutex_lock(&progress.lock);
	if (progress.running)
		progress_set_words(doing);
	pthread_mutex_unlock(&progress.lock);
}

void progress_begin(const char *doing)
{
	if (!isatty(STDERR_FILENO))
		return;

	pthread_mutex_lock(&progress.lock);
	progress_set_words(doing);
	progress.done = 0;
	progress.total = 0;
	if (!progress.running) {
		pthread_condattr_t monotonic;
		pthread_condattr_init(&monotonic);
		pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
		pthread_cond_init(&progress.changed, &monotonic);
		pthread_condattr_destroy(&monotonic);
		progress.began_ns = clock_monotonic_ns(clock_real());
		progress.stop = false;
		/* Without a thread there is no line: nothing else depends on it. */
		progress.running = pthread_create(&progress.thread, NULL, progress_run, NULL) == 0;
	}
	pthread_mutex_unlock(&progress.lock);
}

void progress_at(uint64_t done, uint64_t total)
{
	pthread_mutex_lock(&progress.lock);
	progress.done = done;
	progress.total = total;
	pthread_mutex_unlock(&progress.lock);
}

void progress_ask(bool (*ask)(void *owner, uint64_t *ret_done, uint64_t *ret_total), void *owner)
{
	pthread_mutex_lock(&progress.lock);
	progress.ask = ask;
	progress.owner = owner;
	pthread_mutex_unlock(&progress.lock);
}

void progress_wipe(void)
{
	pthread_mutex_lock(&progress.lock);
	if (progress.running)
		progress_clear_line();
	pthread_mutex_unlock(&progress.lock);
}

void progress_end(void)
{
	pthread_mutex_lock(&progress.lock);
	bool running = progress.running;
	progress.running = false;
	progress.stop = true;
	if (running)
		pthread_cond_signal(&progress.changed);
	pthread_mutex_unlock(&progress.lock);
	if (running)
		(void)pthread_join(progress.thread, NULL);
	progress.ask = NULL;
}
