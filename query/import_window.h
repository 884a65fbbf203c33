#pragma once

/*
 * import_window decides how many files of an import are under way at once: being read, or sent and
 * not acknowledged yet.
 *
 * Enough of them keep processors, network and disk busy; each one more only waits, takes memory
 * here, and stands before the agents in the aggregator's queue. How many are enough depends on how
 * far away the aggregator is, which nobody has to know: the window goes by what it sees. While a
 * file waits for its acknowledgement no longer than one that was alone, more may be sent; when
 * more than a few of them wait for others, fewer are (as TCP Vegas does).
 *
 *	waiting for others = acknowledged per second * (their wait - the shortest wait)
 *
 * Now and then one is sent alone, because the shortest wait of many that were never alone says
 * nothing, and what was true an hour ago may be over.
 *
 * Pure: no clock of its own, no lock.
 */

#include <stdbool.h>
#include <stdint.h>

struct import_window {
	uint32_t size; /* how many may be under way */
	uint32_t min;
	uint32_t max;
	bool is_reached; /* since the last decision somebody could have begun, but for the window */
	/* Since the last decision. */
	uint64_t began_ns;
	uint64_t waited_ns; /* summed */
	uint32_t acked;
	/* The shortest wait of this age, and how many of it were acknowledged. */
	uint64_t shortest_ns;
	uint32_t age_acked;
	uint32_t size_before; /* while one goes alone; else 0 */
};

/* 0 < min <= max. It begins with `min`. */
struct import_window import_window_of(uint32_t min, uint32_t max, uint64_t now_ns);

/* A file was acknowledged, so long after it was handed over. */
void import_window_acked(struct import_window *window, uint64_t now_ns, uint64_t waited_ns);

/* Somebody would begin a file, were the window larger. */
void import_window_holds(struct import_window *window);
