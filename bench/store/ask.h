#pragma once

/*
 * ask puts a question as the aggregator does, in its own process: by answer_build(), the code that
 * answers the wire, to the finished tree: frames named, one node for each path of functions, and
 * what is below each node added up in a last pass, as the command line does.
 */

#include "bench/store/rows.h"
#include "bench/store/say.h"
#include "storage/store.h"

struct question {
	const char *selectors[2];
	uint64_t from_ns[2], to_ns[2];
	uint32_t sides;
};

struct ask_result {
	double ms; /* to the finished tree */
	uint32_t nodes;
	uint32_t rows;  /* of all sides: distinct stacks by function */
	uint64_t value; /* in samples */
};

struct ask_result ask(struct store *store, const struct question *question);

/* Without the tree: the range summed by stack. */
double ask_sum_ms(struct store *store, const struct question *question);

/* The same question by address, as figures that it can be held against. */
struct rows_sum ask_print(
        struct store *store, const struct rows *rows, const struct question *question);
