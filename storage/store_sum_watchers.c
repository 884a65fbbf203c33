/*
 * Who was watching: intervals of a stretch, of sealed windows and of open batches, are kept until
 * all of them are known, and seen in order of their start.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_sum_private.h"

/* By so many bits of their start at a time, from the lowest on. */
#define PENDING_BITS  11
#define PENDING_RADIX (1u << PENDING_BITS)

/* One round from `from` into `to`, which keeps the order of what is equal in these bits. */
static void pending_sort_round(const struct pending *from, struct pending *to, size_t count,
        uint64_t first_ns, uint32_t shift)
{
	size_t at[PENDING_RADIX] = { 0 };
	size_t before = 0;
	for (size_t i = 0; i < count; i++)
		at[(from[i].start_ns - first_ns) >> shift & (PENDING_RADIX - 1)]++;
	for (uint32_t digit = 0; digit < PENDING_RADIX; digit++) {
		size_t digits = at[digit];
		at[digit] = before;
		before += digits;
	}
	for (size_t i = 0; i < count; i++)
		to[at[(from[i].start_ns - first_ns) >> shift & (PENDING_RADIX - 1)]++] = from[i];
}

/* By start. A stretch is short, so that few bits of it differ: cheaper than comparing. -ENOMEM. */
static int pending_sort(struct buf *pending)
{
	struct pending *from = ARRAY(struct pending, *pending);
	size_t count = ARRAY_COUNT(struct pending, *pending);
	uint64_t first_ns = UINT64_MAX;
	uint64_t last_ns = 0;
	autofree struct pending *other = malloc((count + 1) * sizeof(*other));
	if (!other)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		first_ns = from[i].start_ns < first_ns ? from[i].start_ns : first_ns;
		last_ns = from[i].start_ns > last_ns ? from[i].start_ns : last_ns;
	}
	struct pending *to = other;
	for (uint32_t shift = 0;
	        shift < 64 && last_ns > first_ns && (last_ns - first_ns) >> shift > 0;
	        shift += PENDING_BITS) {
		pending_sort_round(from, to, count, first_ns, shift);
		struct pending *sorted = to;
		to = from;
		from = sorted;
	}
	if (from == other)
		memcpy(pending->bytes, other, count * sizeof(*other));
	return 0;
}

/* Those of each observer are: that is enough, and mostly so. */
static bool pending_is_sorted(struct summing *summing)
{
	const struct pending *pending = ARRAY(struct pending, summing->pending);
	size_t count = ARRAY_COUNT(struct pending, summing->pending);
	bool is_sorted = true;
	summing->stretches++;
	for (size_t i = 0; i < count && is_sorted; i++) {
		struct observer *observer = &summing->observers[pending[i].observer];
		is_sorted = observer->pending_stretch != summing->stretches ||
		            observer->pending_ns <= pending[i].start_ns;
		observer->pending_stretch = summing->stretches;
		observer->pending_ns = pending[i].start_ns;
	}
	return is_sorted;
}

/*
 * Intervals of one stream mostly follow each other without a gap: they are one run, so that many
 * small ones, of however many observers, need little memory. A run says of gaps what its intervals
 * say one by one, also among those of other streams: no moment in it is far behind one of them.
 */
int summing_put_pending(struct summing *summing, const struct pending *pending)
{
	size_t count = ARRAY_COUNT(struct pending, summing->pending);
	struct pending *last = count ? ARRAY(struct pending, summing->pending) + count - 1 : NULL;
	if (!last || last->observer != pending->observer || pending->start_ns < last->start_ns ||
	        store_is_gap(last->start_ns + last->duration_ns, pending->start_ns)) {
		buf_put(&summing->pending, pending, sizeof(*pending));
		return summing->pending.failed ? -ENOMEM : 0;
	}
	uint64_t end_ns = pending->start_ns + pending->duration_ns; /* was seen to fit */
	if (end_ns > last->start_ns + last->duration_ns)
		last->duration_ns = end_ns - last->start_ns;
	return sum_add(&last->intervals, pending->intervals);
}

int summing_see_pending(struct summing *summing)
{
	int r = pending_is_sorted(summing) ? 0 : pending_sort(&summing->pending);
	const struct pending *pending = ARRAY(struct pending, summing->pending);
	size_t count = ARRAY_COUNT(struct pending, summing->pending);
	for (size_t i = 0; i < count && r == 0; i++)
		r = observer_see(&summing->observers[pending[i].observer], &pending[i]);
	buf_reset(&summing->pending);
	return r;
}

int summing_watchers(struct summing *summing, struct walk *walk, bool is_whole, uint32_t number)
{
	bool is_rollup = key_window_level(walk->sealed->key) > 0;
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct observer *observer;
	int r = sealed_get_watchers(walk->sealed, number, &chunk, &heads);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < chunk.intervals_count && r == 0; i++) {
		const struct detail_interval *interval = &heads.intervals[i];
		if (!is_whole && !walk_has(walk, interval_key(interval)))
			continue;
		r = summing_observer(summing, interval->stream, &observer);
		if (r < 0)
			break;
		struct pending pending = { interval->start_ns, interval->duration_ns,
			is_rollup ? interval->seq : 1, (uint32_t)(observer - summing->observers) };
		r = summing_put_pending(summing, &pending);
	}
	for (uint32_t i = 0; i < chunk.losses_count && r == 0; i++) {
		const struct detail_loss *loss = &heads.losses[i];
		const struct detail_interval *interval = &heads.intervals[loss->interval];
		uint32_t reason = loss->reason <= LOSS_REASON_MAX ? loss->reason : 0;
		if (loss->series != SERIES_NONE ||
		        (!is_whole && !walk_has(walk, interval_key(interval))))
			continue;
		r = summing_observer(summing, interval->stream, &observer);
		r = r < 0 ? r : sum_add(&observer->lost[reason], loss->count);
	}
	return r;
}
