#pragma once

/*
 * walk goes through a range in the order of the batches' keys: inside the gate for one stretch, out
 * for a moment, in again behind the last key. A stretch is a few megabytes of open batches, or a
 * span: sealed windows that overlap, with what is open in them. What is sealed while a walk is out
 * of the gate has the same keys as before, so nothing is read twice; what was acknowledged before
 * the walk began is read; of what arrives meanwhile, some.
 *
 * places say which series are asked for. One thread owns each.
 */

#include <stdbool.h>
#include <stdint.h>

#include "storage/sealed.h"
#include "storage/store_private.h"

struct walk {
	struct store *store;
	uint64_t from_ns;
	uint64_t to_ns;
	const bool *cancelled;
	uint64_t *read_ns; /* of struct store_sum_options */
	/*
	 * Each record that opened, and what its ids are of; -EBADMSG makes it a corrupt one, other
	 * than 0 ends the walk.
	 */
	int (*visit)(void *owner, struct key_batch key, const struct record_batch *record,
	        struct generation *generation);
	/* Reads a span from walk->at on, and moves it. */
	int (*visit_span)(void *owner, struct walk *walk, const struct window_span *span);
	void *owner;
	struct key_batch at;   /* what is before it was read */
	struct sealed *sealed; /* borrowed while the walk goes */
	uint64_t corrupt;
	uint64_t replaced;         /* of these, those in whose place something else was read */
	uint32_t unreadable_count; /* the first of them, none twice */
	struct unreadable unreadable[ANSWER_UNREADABLE_MAX];
};

/*
 * The whole range, from outside the gate. What cannot be read is counted in the walk. -ECANCELED,
 * -ENOMEM, -EIO, or what a visit returned.
 */
int walk_run(struct walk *walk);
/* Says in walk->read_ns how far it has come from there. */
void walk_tell(const struct walk *walk, uint64_t before_ns);
bool walk_is_cancelled(const struct walk *walk);
/* What walk->sealed read last. */
void walk_count_corrupt(struct walk *walk);
/* Likewise, but nothing is missing by it: `instead` says why not, "its rows were read". */
void walk_count_replaced(struct walk *walk, const char *instead);
/* Of a window whose record is not even tried. */
void walk_count_corrupt_window(struct walk *walk, struct key_window key);
/* 0 when the block is only to be left out: it is counted. */
int walk_forgive(struct walk *walk, int result);

/* Checks a record, and what it is of. -EBADMSG, -EPROTONOSUPPORT: it is to be left out. */
int walk_open_record(struct walk *walk, struct kv_bytes key_bytes, struct kv_bytes value,
        struct key_batch *ret_key, struct record_batch *ret_record,
        struct generation **ret_generation);
void walk_count_corrupt_batch(struct walk *walk, struct key_batch key);

/* Open batches of [walk->at, to_ns). */
struct kv_iterator *walk_iterator(const struct walk *walk, uint64_t to_ns);
/* Checks one, and tells walk->visit of it. */
int walk_record(struct walk *walk, struct kv_bytes key_bytes, struct kv_bytes value);
/* Open batches from walk->at on to to_ns, or as many as one stretch has. Inside the gate. */
int walk_batches(struct walk *walk, uint64_t to_ns, bool may_break);

/* Of what walk->at and to_ns bound. */
bool walk_has(const struct walk *walk, struct key_batch key);

static inline struct key_batch interval_key(const struct detail_interval *interval)
{
	return (struct key_batch){ interval->start_ns, interval->stream, interval->seq };
}

/* Of one part: place[series] is its place among the series of all parts, plus one. */
struct places {
	uint32_t *place;
	uint32_t count;
	const struct store_match_part *part;
};

/* The caller frees `place`. -EINVAL: series are not ascending. -ENOMEM. */
int places_init(struct places *places, const struct store_match_part *part);

/* The place, or ID_NONE. */
static inline uint32_t places_find(const struct places *places, uint32_t series)
{
	return series < places->count ? places->place[series] - 1 : ID_NONE;
}

/* Does the record's directory name any of them? */
bool places_meet(const struct places *places, const struct record_batch *record);
/* Is any of them in [first, last]? */
bool places_meet_range(const struct places *places, uint32_t first, uint32_t last);
