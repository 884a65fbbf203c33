#pragma once

/*
 * ask puts a question as the aggregator does, in its own process: by answer_fold(), the code that
 * answers `profleet tree` and `flame` on the wire, to the finished tree: sums of the range on the
 * trie of functions that the aggregator remembers, what is below each node added up, and the
 * greatest nodes of it as an answer.
 */

#include "aggregator/named_stacks.h"
#include "bench/store/rows.h"
#include "bench/store/say.h"
#include "storage/store.h"

struct question {
	const char *selectors[2];
	uint64_t from_ns[2], to_ns[2];
	uint32_t sides;
};

struct ask_result {
	double ms;      /* to the finished tree */
	double cpu_ms;  /* of the thread meanwhile */
	uint32_t nodes; /* of the tree before it was cut */
	uint64_t value; /* in samples */
};

struct ask_result ask(
        struct store *store, struct named_stacks *stacks, const struct question *question);

/* Without the tree: the range summed by stack. CPU is the process's: a sum may use several threads.
 */
struct ask_sum {
	double ms, cpu_ms;
};
struct ask_sum ask_sum(struct store *store, const struct question *question);

/* The same question by address, as figures that it can be held against. */
struct rows_sum ask_print(
        struct store *store, const struct rows *rows, const struct question *question);
