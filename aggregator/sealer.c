/*
 * The thread waits on a condition and not on the clock of the windows, so that it can be stopped
 * at once; the clock that is injected only says which windows have ended.
 */

#include "aggregator/sealer.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "aggregator/heap.h"
#include "core/log.h"
#include "storage/quarantine.h"

#define SEALER_UNREADABLE 32 /* named in one turn; the rest in the next */

struct sealer {
	struct sealer_options options;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_cond_t done;
	/* Under mutex. */
	bool is_stopping;
	uint64_t turns_wanted; /* without waiting for their time */
	uint64_t turns_done;
	struct sealer_state state;
	/* What the last turn returned: a failure is logged when it begins. */
	int last_seal;
	int last_roll;
	int last_collect;
	uint64_t last_unsealable;
	uint64_t last_unrollable;
};

static uint64_t sealer_until(uint64_t now_ns, uint64_t grace_ns)
{
	return now_ns > grace_ns ? now_ns - grace_ns : 0;
}

static void sealer_note_seal(struct sealer *sealer, int r)
{
	if (r < 0 && r != sealer->last_seal) {
		char text[512] = "";
		store_read_error(sealer->options.store, text, sizeof(text));
		log_warn("seal-failed", "%s%s%s: windows stay open and are tried again",
		        strerror(-r), text[0] ? ": " : "", text);
	} else if (r == 0 && sealer->last_seal < 0) {
		log_info("seal-recovered", "windows are sealed again");
	}
	sealer->last_seal = r;
}

/* Nobody else would notice: it is no failure, but no policy erases what is open. */
static void sealer_note_unsealable(struct sealer *sealer)
{
	uint64_t count = store_unsealable_count(sealer->options.store);
	if (count > sealer->last_unsealable)
		log_warn("window-unsealable",
		        "%" PRIu64 " windows add up to more than 64 bits hold: they stay open, and "
		        "no policy erases them; forget what has such values (profleet retention "
		        "forget)",
		        count);
	sealer->last_unsealable = count;
}

/* Likewise: answers read them as they are, and what policies erase of them is in nothing wider. */
static void sealer_note_unrollable(struct sealer *sealer)
{
	uint64_t count = store_unrollable_count(sealer->options.store);
	if (count > sealer->last_unrollable)
		log_warn("window-unrollable",
		        "%" PRIu64 " windows are in no hour or day, which would be past 64 bits, "
		        "or they are damaged: answers read them as they are, and what policies "
		        "erase of them is gone; forget what has such values (profleet retention "
		        "forget)",
		        count);
	sealer->last_unrollable = count;
}

static void sealer_note_roll(struct sealer *sealer, int r)
{
	if (r < 0 && r != sealer->last_roll) {
		char text[512] = "";
		store_read_error(sealer->options.store, text, sizeof(text));
		log_warn("roll-failed", "%s%s%s: windows are not rolled up and are tried again",
		        strerror(-r), text[0] ? ": " : "", text);
	} else if (r == 0 && sealer->last_roll < 0) {
		log_info("roll-recovered", "windows are rolled up again");
	}
	sealer->last_roll = r;
}

static void sealer_note_collect(struct sealer *sealer, int r)
{
	if (r < 0 && r != sealer->last_collect) {
		char text[512] = "";
		store_read_error(sealer->options.store, text, sizeof(text));
		log_warn("collect-failed",
		        "%s%s%s: names without data stay for now; it is tried again", strerror(-r),
		        text[0] ? ": " : "", text);
	} else if (r == 0 && sealer->last_collect < 0) {
		log_info("collect-recovered", "names without data are forgotten again");
	}
	sealer->last_collect = r;
}

/* Each once, until it is lifted. */
static void sealer_name_unreadable(struct store *store)
{
	struct quarantine_record records[SEALER_UNREADABLE];
	uint32_t count = store_take_unreadable(store, records, SEALER_UNREADABLE);
	for (uint32_t i = 0; i < count; i++)
		log_warn("block-unreadable",
		        "%s %s: %s: what finer windows do not have either is missing in answers, "
		        "which name it; run --verify on the stopped store, or on a backup of it",
		        records[i].family, records[i].key,
		        records[i].reason == -EPROTONOSUPPORT ? "written by a newer profleet"
		                                              : "missing or damaged");
}

/* After a turn: for metrics and health. */
static void sealer_count(struct sealer *sealer)
{
	int error = sealer->last_seal < 0   ? sealer->last_seal
	            : sealer->last_roll < 0 ? sealer->last_roll
	                                    : sealer->last_collect;
	pthread_mutex_lock(&sealer->mutex);
	sealer->state.seal_failures += sealer->last_seal < 0;
	sealer->state.roll_failures += sealer->last_roll < 0;
	sealer->state.collect_failures += sealer->last_collect < 0;
	sealer->state.error = error < 0 ? error : 0;
	pthread_mutex_unlock(&sealer->mutex);
}

struct sealer_state sealer_state(struct sealer *sealer)
{
	pthread_mutex_lock(&sealer->mutex);
	struct sealer_state state = sealer->state;
	pthread_mutex_unlock(&sealer->mutex);
	return state;
}

static void sealer_turn(struct sealer *sealer)
{
	uint64_t now_ns = clock_unix_ns(sealer->options.clock);
	struct store *store = sealer->options.store;
	sealer_note_seal(sealer, store_seal(store, sealer_until(now_ns, sealer->options.grace_ns)));
	sealer_note_unsealable(sealer);
	sealer_note_roll(
	        sealer, store_roll(store, sealer_until(now_ns, sealer->options.roll_grace_ns)));
	sealer_note_unrollable(sealer);
	store_sum_heads(store);
	sealer_note_collect(sealer, store_collect(store));
	sealer_count(sealer);
	sealer_name_unreadable(store);
	heap_give_back(sealer->options.idle_bytes_max);
}

static struct timespec sealer_in(uint32_t ms)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return until;
}

static bool sealer_is_before(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/*
 * Until the next turn, making sums of what is open meanwhile. false: stop. *ret_wanted: how many
 * turns were asked for when this one begins.
 */
static bool sealer_wait(struct sealer *sealer, uint64_t *ret_wanted)
{
	struct timespec turn = sealer_in(sealer->options.every_ms);
	uint32_t heads_ms = sealer->options.heads_every_ms;
	struct timespec heads = sealer_in(heads_ms);
	pthread_mutex_lock(&sealer->mutex);
	while (!sealer->is_stopping && sealer->turns_wanted == sealer->turns_done) {
		bool is_heads = heads_ms > 0 && sealer_is_before(heads, turn);
		if (pthread_cond_timedwait(
		            &sealer->wake, &sealer->mutex, is_heads ? &heads : &turn) == 0)
			continue;
		if (!is_heads)
			break;
		pthread_mutex_unlock(&sealer->mutex);
		store_sum_heads(sealer->options.store);
		heap_give_back(sealer->options.idle_bytes_max);
		heads = sealer_in(heads_ms);
		pthread_mutex_lock(&sealer->mutex);
	}
	bool is_stopping = sealer->is_stopping;
	*ret_wanted = sealer->turns_wanted;
	pthread_mutex_unlock(&sealer->mutex);
	return !is_stopping;
}

static void *sealer_run(void *owner)
{
	struct sealer *sealer = owner;
	uint64_t wanted;
	while (sealer_wait(sealer, &wanted)) {
		sealer_turn(sealer);
		pthread_mutex_lock(&sealer->mutex);
		sealer->turns_done = wanted;
		pthread_cond_broadcast(&sealer->done);
		pthread_mutex_unlock(&sealer->mutex);
	}
	return NULL;
}

void sealer_turn_now(struct sealer *sealer)
{
	pthread_mutex_lock(&sealer->mutex);
	uint64_t wanted = ++sealer->turns_wanted;
	pthread_cond_signal(&sealer->wake);
	while (sealer->turns_done < wanted && !sealer->is_stopping)
		pthread_cond_wait(&sealer->done, &sealer->mutex);
	pthread_mutex_unlock(&sealer->mutex);
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
	pthread_cond_init(&sealer->wake, &attributes);
	pthread_cond_init(&sealer->done, NULL);
	pthread_condattr_destroy(&attributes);
	int r = -pthread_create(&sealer->thread, NULL, sealer_run, sealer);
	if (r < 0) {
		pthread_cond_destroy(&sealer->wake);
		pthread_cond_destroy(&sealer->done);
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
	pthread_cond_signal(&sealer->wake);
	pthread_cond_broadcast(&sealer->done);
	pthread_mutex_unlock(&sealer->mutex);
	pthread_join(sealer->thread, NULL);
	pthread_cond_destroy(&sealer->wake);
	pthread_cond_destroy(&sealer->done);
	pthread_mutex_destroy(&sealer->mutex);
	free(sealer);
}
