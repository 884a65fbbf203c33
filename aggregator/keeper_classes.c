/*
 * Which series the sealer may keep in one unit: those that policies keep alike. And which of what
 * comes late would be forgotten as soon as it is sealed. The store asks both in its gate, so a copy
 * of the policies is kept for it under a lock of its own.
 */

#include <errno.h>
#include <string.h>

#include "aggregator/keeper_work.h"
#include "core/log.h"

#define KEEPER_PARTED_MAX 256 /* windows parted in one turn */

/* Which class a series is of: series whose tiers are the same are one. In the store's gate. */
static uint32_t keeper_classify(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	struct keeper *keeper = owner;
	struct retention_subject subject = { tenant, dict, series };
	(void)pthread_mutex_lock(&keeper->classes_lock);
	struct retention_outcome outcome = retention_evaluate(
	        keeper->classes_set, &keeper->options.limits, subject);
	uint32_t class = 0;
	while (class < keeper->classes_count &&
	        memcmp(&keeper->classes[class], &outcome.keep, sizeof(outcome.keep)) != 0)
		class ++;
	if (class == keeper->classes_count && class < STORE_CLASS_COUNT_MAX)
		keeper->classes[keeper->classes_count++] = outcome.keep;
	(void)pthread_mutex_unlock(&keeper->classes_lock);
	return class;
}

/* Has everything of a batch expired? In the store's gate. */
static bool keeper_has_expired(
        void *owner, const char *tenant, const struct batch *batch, uint64_t to_ns)
{
	struct keeper *keeper = owner;
	uint64_t now_ns = keeper_now(keeper);
	bool has_expired = batch->rows_count > 0;
	uint32_t known = SERIES_NONE;
	(void)pthread_mutex_lock(&keeper->classes_lock);
	has_expired &= keeper->classes_decide;
	for (uint32_t i = 0; i < batch->rows_count && has_expired; i++) {
		if (batch->rows[i].series == known)
			continue;
		known = batch->rows[i].series;
		struct retention_subject subject = { tenant, batch->dict, known };
		struct retention_outcome outcome = retention_evaluate(
		        keeper->classes_set, &keeper->options.limits, subject);
		/* A coarser tier lasts at least as long as a finer one. */
		has_expired = retention_expires_ns(&outcome, RETENTION_1D, to_ns) <= now_ns;
	}
	(void)pthread_mutex_unlock(&keeper->classes_lock);
	return has_expired;
}

void keeper_set_decides(struct keeper *keeper)
{
	(void)pthread_mutex_lock(&keeper->classes_lock);
	keeper->classes_decide = keeper->holds->count == 0 && keeper->pending_count == 0 &&
	                         (!*keeper->stop || !keeper->stop_stays) &&
	                         keeper->paused_until_ns <= keeper_now(keeper);
	(void)pthread_mutex_unlock(&keeper->classes_lock);
}

int keeper_set_classes(struct keeper *keeper)
{
	AUTO(retention_set) copy = NULL;
	int r = retention_merge(keeper->set, NULL, &copy);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&keeper->classes_lock);
	struct retention_set *before = keeper->classes_set;
	keeper->classes_set = TAKE(copy);
	/*
	 * A window that is being sealed has numbers of before: they keep their meaning, unless most
	 * of them are used up. Then units may be mixed, which the plan sees and parts.
	 */
	if (keeper->classes_count > STORE_CLASS_COUNT_MAX / 2)
		keeper->classes_count = 0;
	(void)pthread_mutex_unlock(&keeper->classes_lock);
	retention_set_free(before);
	keeper_set_decides(keeper);
	store_set_classify(
	        keeper->options.store, keeper->set->count > 0 ? keeper_classify : NULL, keeper);
	store_set_has_expired(
	        keeper->options.store, keeper->set->count > 0 ? keeper_has_expired : NULL, keeper);
	return 0;
}

uint32_t keeper_part_mixed(struct keeper *keeper, const struct retention_plan *plan)
{
	const struct store_window_name *windows = (const void *)plan->mixed.bytes;
	uint32_t count = (uint32_t)(plan->mixed.count / sizeof(*windows)), parted = 0;
	for (uint32_t i = 0; i < count && i < KEEPER_PARTED_MAX && !keeper->is_cancelled; i++) {
		struct store_resealed resealed = { 0 };
		uint64_t changes = keeper_leave(keeper);
		int r = store_reseal(
		        keeper->options.store, windows[i], keeper_classify, keeper, &resealed);
		(void)keeper_return(keeper, changes); /* parting is by what is in force then */
		if (r < 0 && r != -ENOENT) {
			log_warn("reseal-failed",
			        "%s: what several policies share is kept by the longest",
			        strerror(-r));
			return parted;
		}
		parted += resealed.units_parted;
	}
	return parted;
}
