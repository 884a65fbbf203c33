/*
 * The thread waits on a condition and not on the clock of the windows, so that it can be stopped
 * at once; the clock that is injected only says which windows have ended.
 */

#include "aggregator/sealer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "core/log.h"

struct sealer {
	struct sealer_options options;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t stop;
	bool is_stopping; /* under mutex */
	int last;         /* what the last turn returned: a failure is logged when it begins */
};

static void sealer_turn(struct sealer *sealer)
{
	uint64_t now_ns = clock_unix_ns(sealer->options.clock);
	uint64_t grace_ns = sealer->options.grace_ns;
	int r = now_ns > grace_ns ? store_seal(sealer->options.store, now_ns - grace_ns) : 0;
	if (r < 0 && r != sealer->last) {
		char text[512] = "";
		store_read_error(sealer->options.store, text, sizeof(text));
		log_warn("seal-failed", "%s%s%s: windows stay open and are tried again",
		        strerror(-r), text[0] ? ": " : "", text);
	} else if (r == 0 && sealer->last < 0) {
		log_info("seal-recovered", "windows are sealed again");
	}
	sealer->last = r;
}

/* false: stop. */
static bool sealer_wait(struct sealer *sealer)
{
	struct timespec until;
	bool is_stopping;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += sealer->options.every_ms / 1000;
	until.tv_nsec += (long)(sealer->options.every_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&sealer->mutex);
	while (!sealer->is_stopping &&
	        pthread_cond_timedwait(&sealer->stop, &sealer->mutex, &until) == 0)
		;
	is_stopping = sealer->is_stopping;
	pthread_mutex_unlock(&sealer->mutex);
	return !is_stopping;
}

static void *sealer_run(void *owner)
{
	struct sealer *sealer = owner;
	while (sealer_wait(sealer))
		sealer_turn(sealer);
	return NULL;
}

int sealer_new(struct sealer_options options, struct sealer **ret_sealer)
{
	struct sealer *sealer = calloc(1, sizeof(*sealer));
	pthread_condattr_t attributes;
	if (!sealer)
		return -ENOMEM;
	sealer->options = options;
	pthread_mutex_init(&sealer->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&sealer->stop, &attributes);
	pthread_condattr_destroy(&attributes);
	int r = -pthread_create(&sealer->thread, NULL, sealer_run, sealer);
	if (r < 0) {
		pthread_cond_destroy(&sealer->stop);
		pthread_mutex_destroy(&sealer->mutex);
		free(sealer);
		return r;
	}
	*ret_sealer = sealer;
	return 0;
}

void sealer_free(struct sealer *sealer)
{
	if (!sealer)
		return;
	pthread_mutex_lock(&sealer->mutex);
	sealer->is_stopping = true;
	pthread_cond_signal(&sealer->stop);
	pthread_mutex_unlock(&sealer->mutex);
	pthread_join(sealer->thread, NULL);
	pthread_cond_destroy(&sealer->stop);
	pthread_mutex_destroy(&sealer->mutex);
	free(sealer);
}
