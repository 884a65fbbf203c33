/*
 * What is open: by the sums of its window that are in memory (head_sums.h) where they can answer,
 * and batch by batch what is in none.
 *
 * A window's sums are read when all that they have is wanted and they tell apart what the question
 * does; then what is fresh is read by its keys. Otherwise all of its batches are read, as if there
 * were no sums. Both in one visit to the gate, so that nothing moves from one to the other
 * meanwhile.
 *
 * Sides may do so differently at the same time: time is cut into pieces in which each of them does
 * the same throughout, and a batch that several of them need is unpacked once.
 */

#include <errno.h>
#include <stdlib.h>

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

static int open_compare_keys(const void *a, const void *b)
{
	return key_batch_compare(*(const struct key_batch *)a, *(const struct key_batch *)b);
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
	if (head.fresh_end - head.fresh_first > 1)
		qsort(ARRAY(struct key_batch, plan->fresh) + head.fresh_first,
		        head.fresh_end - head.fresh_first, sizeof(struct key_batch),
		        open_compare_keys);
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

/* ---- reading ---- */

/* A stretch of open batches that each side reads in one way. */
struct open_piece {
	struct key_batch from;
	struct key_batch to;
	enum take takes[STORE_SUM_SIDES_MAX];
	const struct plan_head *heads[STORE_SUM_SIDES_MAX]; /* where it is TAKE_FRESH */
};

/* What the side reads from `at` on, up to where that changes or *to ends. */
static enum take open_take(const struct pass_side *side, struct key_batch at, struct key_batch *to,
        const struct plan_head **ret_head)
{
	const struct plan *plan = &side->summing.plan;
	const struct plan_head *heads = ARRAY(struct plan_head, plan->heads);
	size_t count = ARRAY_COUNT(struct plan_head, plan->heads);
	uint64_t to_ns = plan->to_ns < side->walk.to_ns ? plan->to_ns : side->walk.to_ns;
	struct key_batch changes = { .start_ns = to_ns };
	enum take take = TAKE_WHOLE;
	size_t i = 0;
	while (i < count && heads[i].to_ns <= at.start_ns)
		i++;
	if (key_batch_compare(at, side->walk.at) < 0) {
		take = TAKE_NOTHING;
		changes = side->walk.at;
	} else if (at.start_ns >= to_ns) {
		return TAKE_NOTHING;
	} else if (i < count && heads[i].from_ns <= at.start_ns) {
		take = TAKE_FRESH;
		*ret_head = &heads[i];
		changes.start_ns = heads[i].to_ns < to_ns ? heads[i].to_ns : to_ns;
	} else if (i < count && heads[i].from_ns < to_ns) {
		changes.start_ns = heads[i].from_ns;
	}
	if (key_batch_compare(changes, *to) < 0)
		*to = changes;
	return take;
}

static struct open_piece open_piece_at(const struct pass *pass,
        const bool takes_part[STORE_SUM_SIDES_MAX], struct key_batch at, uint64_t end_ns)
{
	struct open_piece piece = { .from = at, .to = { .start_ns = end_ns } };
	for (uint32_t i = 0; i < pass->sides_count; i++)
		if (takes_part[i])
			piece.takes[i] = open_take(&pass->sides[i], at, &piece.to, &piece.heads[i]);
	return piece;
}

/* Is it among what is fresh of the head? */
static bool open_has_fresh(
        const struct pass_side *side, const struct plan_head *head, struct key_batch key)
{
	const struct key_batch *fresh = ARRAY(struct key_batch, side->summing.plan.fresh);
	return head->fresh_end > head->fresh_first &&
	       bsearch(&key, fresh + head->fresh_first, head->fresh_end - head->fresh_first,
	               sizeof(key), open_compare_keys);
}

/* A batch of this generation can be unpacked into pass->batch, which is empty. */
static int open_begin_batch(struct pass *pass, struct generation *generation)
{
	if (pass->batch && pass->batch_generation == generation->id) {
		batch_reset(pass->batch);
		return 0;
	}
	batch_free(pass->batch);
	pass->batch = batch_new(generation->dict);
	pass->batch_generation = generation->id;
	store_repin(pass->store, &pass->pinned, generation);
	return pass->batch ? 0 : -ENOMEM;
}

/* A batch that opened, to all sides that have it: unpacked at most once. */
static int open_add_record(struct pass *pass, const bool has[STORE_SUM_SIDES_MAX],
        struct key_batch key, const struct record_batch *record, struct generation *generation)
{
	bool is_met[STORE_SUM_SIDES_MAX] = { false };
	bool is_wanted = record->has_loss_of_none;
	for (uint32_t i = 0; i < pass->sides_count; i++) {
		struct summing *summing = &pass->sides[i].summing;
		if (!has[i])
			continue;
		summing_turn_to(summing, generation);
		is_met[i] = places_meet(&summing->part->places, record);
		is_wanted |= is_met[i];
	}
	int r = open_begin_batch(pass, generation);
	if (r == 0 && is_wanted)
		r = record_unpack_batch(record, key.start_ns, &pass->scratch, pass->batch);
	/* From here on the record is good, and whatever goes wrong is not its fault. */
	for (uint32_t i = 0; i < pass->sides_count && r == 0; i++)
		if (has[i])
			r = summing_add_record(&pass->sides[i].summing, key, record, is_met[i]);
	return r;
}

static int open_record(struct pass *pass, const struct open_piece *piece, struct kv_bytes key_bytes,
        struct kv_bytes value)
{
	bool has[STORE_SUM_SIDES_MAX] = { false };
	struct key_batch key;
	struct record_batch record;
	struct generation *generation = NULL;
	int r = walk_open_record(
	        &pass->sides[0].walk, key_bytes, value, &key, &record, &generation);
	for (uint32_t i = 0; i < pass->sides_count; i++)
		has[i] = piece->takes[i] == TAKE_WHOLE ||
		         (piece->takes[i] == TAKE_FRESH &&
		                 open_has_fresh(&pass->sides[i], piece->heads[i], key));
	r = r < 0 ? r : open_add_record(pass, has, key, &record, generation);
	if (r != -EBADMSG && r != -EPROTONOSUPPORT)
		return r;
	store_note_unreadable(pass->store, KV_BATCH, key_bytes, r);
	for (uint32_t i = 0; i < pass->sides_count; i++)
		if (has[i])
			walk_count_corrupt_batch(&pass->sides[i].walk, key);
	return 0;
}

/* How many bytes were read, and where reading has come to. */
struct open_progress {
	uint64_t bytes;
	uint64_t bytes_max;
	struct key_batch next;
};

/* One after the other; a side that has sums of some leaves those out. */
static int open_read_range(
        struct pass *pass, const struct open_piece *piece, struct open_progress *progress)
{
	const struct walk *walk = &pass->sides[0].walk;
	struct walk part = { .store = pass->store, .at = piece->from };
	uint64_t to_ns = piece->to.start_ns;
	/* A piece that ends within a start has that start's first batches as well. */
	bool is_within = piece->to.stream > 0 || piece->to.seq > 0;
	AUTO(kv_iterator) it = walk_iterator(&part, is_within ? to_ns + 1 : to_ns);
	if (!it)
		return -ENOMEM;
	int r = 0;
	for (; r == 0 && kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		struct key_batch read;
		if (walk_is_cancelled(walk))
			return -ECANCELED;
		bool is_key = keys_get_batch(key.bytes, key.count, &read) == 0;
		if (is_within && is_key && key_batch_compare(read, piece->to) >= 0)
			break;
		r = open_record(pass, piece, key, value);
		progress->bytes += key.count + value.count;
		if (progress->bytes >= progress->bytes_max && is_key) {
			progress->next = key_batch_next(read);
			return r;
		}
	}
	progress->next = piece->to;
	return r ? r : kv_iterator_result(it);
}

/* By their keys. One that is not there was not written after all. */
static int open_read_fresh(
        struct pass *pass, const struct open_piece *piece, struct open_progress *progress)
{
	AUTO_BUF keys = { 0 };
	AUTO_BUF value = { 0 };
	for (uint32_t i = 0; i < pass->sides_count; i++) {
		const struct plan_head *head = piece->heads[i];
		const struct key_batch *fresh = ARRAY(
		        struct key_batch, pass->sides[i].summing.plan.fresh);
		for (size_t j = head ? head->fresh_first : 0; head && j < head->fresh_end; j++)
			if (key_batch_compare(piece->from, fresh[j]) <= 0 &&
			        key_batch_compare(fresh[j], piece->to) < 0)
				buf_put(&keys, &fresh[j], sizeof(fresh[j]));
	}
	if (keys.failed)
		return -ENOMEM;
	struct key_batch *sorted = ARRAY(struct key_batch, keys);
	size_t count = ARRAY_COUNT(struct key_batch, keys);
	int r = 0;
	if (count > 1)
		qsort(sorted, count, sizeof(*sorted), open_compare_keys);
	for (size_t i = 0; i < count && r == 0; i++) {
		uint8_t key_bytes[KEYS_BATCH_BYTES];
		struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
		if (i > 0 && key_batch_compare(sorted[i - 1], sorted[i]) == 0)
			continue;
		if (walk_is_cancelled(&pass->sides[0].walk))
			return -ECANCELED;
		keys_put_batch(sorted[i], key_bytes);
		buf_reset(&value);
		r = kv_get(pass->store->kv, KV_BATCH, key, &value);
		if (r == 0)
			r = open_record(pass, piece, key, store_bytes(&value));
		else if (r == -ENOENT)
			r = 0;
	}
	progress->next = piece->to;
	return r;
}

static int open_read_piece(
        struct pass *pass, const struct open_piece *piece, struct open_progress *progress)
{
	bool has_range = false;
	bool has_fresh = false;
	for (uint32_t i = 0; i < pass->sides_count; i++) {
		has_range |= piece->takes[i] == TAKE_WHOLE;
		has_fresh |= piece->takes[i] == TAKE_FRESH;
	}
	progress->next = piece->to;
	if (has_range)
		return open_read_range(pass, piece, progress);
	return has_fresh ? open_read_fresh(pass, piece, progress) : 0;
}

/* What was read of a side's part of the stretch is behind it. */
static void open_move(struct pass_side *side, struct key_batch next)
{
	const struct plan *plan = &side->summing.plan;
	uint64_t to_ns = plan->to_ns < side->walk.to_ns ? plan->to_ns : side->walk.to_ns;
	struct key_batch end = { .start_ns = to_ns };
	if (key_batch_compare(end, next) < 0)
		next = end;
	if (key_batch_compare(side->walk.at, next) < 0)
		side->walk.at = next;
}

int pass_open(struct pass *pass, const bool takes_part[STORE_SUM_SIDES_MAX], bool may_break)
{
	struct open_progress progress = {
		.bytes_max = may_break ? pass->store->options.stretch_bytes : UINT64_MAX,
		.next = { .start_ns = UINT64_MAX },
	};
	uint64_t end_ns = 0;
	int r = 0;
	for (uint32_t i = 0; i < pass->sides_count; i++) {
		const struct pass_side *side = &pass->sides[i];
		uint64_t to_ns = side->summing.plan.to_ns;
		to_ns = to_ns < side->walk.to_ns ? to_ns : side->walk.to_ns;
		if (!takes_part[i])
			continue;
		if (key_batch_compare(side->walk.at, progress.next) < 0)
			progress.next = side->walk.at;
		end_ns = to_ns > end_ns ? to_ns : end_ns;
	}
	while (r == 0 && progress.next.start_ns < end_ns && progress.bytes < progress.bytes_max) {
		struct open_piece piece = open_piece_at(pass, takes_part, progress.next, end_ns);
		r = open_read_piece(pass, &piece, &progress);
	}
	for (uint32_t i = 0; i < pass->sides_count && may_break && r == 0; i++)
		if (takes_part[i])
			open_move(&pass->sides[i], progress.next);
	return r;
}
