#pragma once

/*
 * rows are the reports of a synthetic fleet, made once and kept in memory, so that the same rows
 * can be given to a store several times and to its peer, and making them is in nobody's figures.
 *
 * They are grouped as they would reach an aggregator: a session is one host's agent with a
 * dictionary of its own, a section what it says of one service at one tick. Stacks and series
 * have also numbers that are the same for all sessions, which is what the peer is given.
 */

#include <stdint.h>

#include "bench/fleet.h"
#include "core/id_map.h"

struct rows_row {
	uint32_t node; /* of its session's dict */
	uint32_t value;
};

struct rows_report {
	uint32_t series; /* of its session's dict */
	uint32_t number; /* of the series among all */
	uint64_t first;
	uint32_t count;
};

struct rows_section {
	uint64_t tick;
	uint32_t session;
	uint32_t service;
	uint32_t reports_first;
	uint32_t reports_count;
};

struct rows_session {
	struct dict *dict;
	uint32_t *stacks; /* by node of the dict: the number of the stack among all, + 1 */
	uint32_t stacks_capacity;
	uint32_t *series; /* by series of the dict: its number among all, + 1 */
	uint32_t series_capacity;
};

struct rows {
	struct fleet *fleet;
	uint64_t start_ns;
	uint64_t tick_ns; /* between two reports of an instance */
	uint64_t ticks;
	struct rows_session *sessions;
	uint32_t sessions_count;
	struct rows_section *sections; /* by tick, then session */
	uint32_t sections_count, sections_capacity;
	struct rows_report *reports;
	uint32_t reports_count, reports_capacity;
	struct rows_row *rows;
	uint64_t rows_count;
	uint32_t rows_capacity;
	struct id_map *stacks; /* number by content */
	struct fleet_instance *series;
	uint32_t series_count, series_capacity;
};

struct rows_options {
	struct fleet_options fleet;
	uint64_t tick_ns;
};

/* Ends the program where it cannot. */
struct rows *rows_make(struct rows_options options);
void rows_free(struct rows *rows);

uint64_t rows_end_ns(const struct rows *rows);
uint32_t rows_stacks(const struct rows *rows);             /* distinct */
uint64_t rows_stacks_of_sessions(const struct rows *rows); /* of each session, added up */

/* The section as a settled batch of its session's dict, moved in time. */
void rows_fill(const struct rows *rows, const struct rows_section *section, uint64_t shift_ns,
        struct batch *batch);

/* What an answer is held against: distinct stacks, their samples, and a word made of both. */
struct rows_sum {
	uint64_t stacks, value, mix;
};

/*
 * By adding up, of the rows of one service in a range of time; `but` is a series that is left out,
 * or ID_NONE.
 */
struct rows_sum rows_expect(
        const struct rows *rows, uint32_t service, uint32_t but, uint64_t from_ns, uint64_t to_ns);

/* A word that rows of one (stack, value) are told apart by; results add them up. */
uint64_t rows_mix(uint32_t stack, uint64_t value);
