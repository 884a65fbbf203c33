/*
 * Summing what is open: by the sums of its window that are in memory (head_sums.h) where they can
 * answer, and batch by batch what is in none.
 *
 * A window's sums are read when all that they have is wanted and they tell apart what the question
 * does; then what is fresh is read by its keys. Otherwise all of its batches are read, as if there
 * were no sums. Both in one visit to the gate, so that nothing moves from one to the other
 * meanwhile.
 */

#include <errno.h>

#include "storage/store_sum_private.h"

/* Is all that the window's sums have in the range, and not read yet? */
static bool head_is_whole(const struct walk *walk, const struct head_window *window)
{
	for (uint32_t i = 0; i < window->segments_count; i++) {
		const struct head_segment *segment = window->segments[i];
		if (!walk_has(walk, segment->batches[0]) ||
		        !walk_has(walk, segment->batches[segment->batches_count - 1]))
			return false;
	}
	return true;
}

static int plan_head_fits(struct summing *summing, struct walk *walk,
        const struct head_window *window, bool *ret_fits)
{
	int r = 0;
	*ret_fits = head_is_whole(walk, window);
	for (uint32_t i = 0; i < window->segments_count && r == 0 && *ret_fits; i++)
		r = summing_fits_segment(summing, walk, window->segments[i], ret_fits);
	return r;
}

static int plan_put_head(
        struct summing *summing, struct walk *walk, const struct head_window *window)
{
	struct plan *plan = &summing->plan;
	struct plan_head head = {
		.from_ns = window->from_ns,
		.to_ns = window->to_ns,
		.fresh_first = ARRAY_COUNT(struct key_batch, plan->fresh),
	};
	if (!head_sums_get_fresh(&walk->store->head_sums, window, &plan->fresh)) {
		plan->fresh.count = head.fresh_first * sizeof(struct key_batch);
		return plan->fresh.failed ? -ENOMEM : 0;
	}
	head.fresh_end = ARRAY_COUNT(struct key_batch, plan->fresh);
	buf_put(&plan->heads, &head, sizeof(head));
	for (uint32_t i = 0; i < window->segments_count; i++) {
		struct plan_window of = {
			.key = window->segments[i]->key,
			.is_whole = true,
			.segment = window->segments[i],
		};
		buf_put(&plan->windows, &of, sizeof(of));
	}
	walk->store->head_sums.used++;
	return plan->heads.failed || plan->windows.failed ? -ENOMEM : 0;
}

int plan_heads(struct summing *summing, struct walk *walk, uint64_t from_ns, uint64_t to_ns)
{
	const struct head_sums *heads = &walk->store->head_sums;
	const struct head_window *window;
	int r = 0;
	while (r == 0 && (window = head_sums_next(heads, from_ns, to_ns))) {
		bool fits;
		r = plan_head_fits(summing, walk, window, &fits);
		if (r == 0 && fits)
			r = plan_put_head(summing, walk, window);
		from_ns = window->to_ns;
	}
	return r;
}

/* By their keys. One that is not there was not written after all. */
static int summing_fresh_batches(
        struct summing *summing, struct walk *walk, const struct plan_head *head)
{
	const struct key_batch *fresh = ARRAY(struct key_batch, summing->plan.fresh);
	int r = 0;
	AUTO_BUF value = { 0 };
	for (size_t i = head->fresh_first; i < head->fresh_end && r == 0; i++) {
		uint8_t key_bytes[KEYS_BATCH_BYTES];
		struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
		if (!walk_has(walk, fresh[i]))
			continue;
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		keys_put_batch(fresh[i], key_bytes);
		buf_reset(&value);
		r = kv_get(walk->store->kv, KV_BATCH, key, &value);
		if (r == 0)
			r = walk_record(walk, key, store_bytes(&value));
		else if (r == -ENOENT)
			r = 0;
	}
	return r;
}

int summing_open_batches(struct summing *summing, struct walk *walk, uint64_t to_ns)
{
	const struct plan_head *heads = ARRAY(struct plan_head, summing->plan.heads);
	size_t count = ARRAY_COUNT(struct plan_head, summing->plan.heads);
	struct key_batch at = walk->at;
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		if (walk->at.start_ns < heads[i].from_ns)
			r = walk_batches(walk, heads[i].from_ns, false);
		walk->at = at;
		r = r < 0 ? r : summing_fresh_batches(summing, walk, &heads[i]);
		walk->at = (struct key_batch){ .start_ns = heads[i].to_ns };
	}
	if (r == 0 && walk->at.start_ns < to_ns)
		r = walk_batches(walk, to_ns, false);
	walk->at = at;
	return r;
}
