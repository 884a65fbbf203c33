/*
 * A decision is made once per round, which is as many acknowledgements as the window has places:
 * only then those are seen that the last decision was about.
 */

#include "query/import_window.h"

#include <assert.h>

#include "core/clock.h"

/* How many may wait for others: fewer leave somebody idle, more help nobody. */
#define IMPORT_WAITING_MIN 2
#define IMPORT_WAITING_MAX 4
/* Acknowledgements of an age, after which the shortest wait is measured anew. */
#define IMPORT_AGE 2048

struct import_window import_window_of(uint32_t min, uint32_t max, uint64_t now_ns)
{
	assert(min > 0 && min <= max);
	return (struct import_window){
		.size = min,
		.min = min,
		.max = max,
		.began_ns = now_ns,
		.shortest_ns = UINT64_MAX,
	};
}

void import_window_holds(struct import_window *window)
{
	window->is_reached = true;
}

/* All that are under way come back first, and then one that has met nobody. */
static void import_window_begin_age(struct import_window *window)
{
	window->shortest_ns = UINT64_MAX;
	window->age_acked = 0;
	window->size_before = window->size;
	window->size = 1;
}

static void import_window_begin_round(struct import_window *window, uint64_t now_ns)
{
	window->began_ns = now_ns;
	window->waited_ns = 0;
	window->acked = 0;
	window->is_reached = false;
}

static void import_window_decide(struct import_window *window, uint64_t elapsed_ns)
{
	/* Summed over the round, so that it is a number of files once it is over the time. */
	uint64_t alone_ns = window->shortest_ns * window->acked;
	uint64_t others_ns = window->waited_ns > alone_ns ? window->waited_ns - alone_ns : 0;

	if (others_ns > IMPORT_WAITING_MAX * elapsed_ns) {
		if (window->size > window->min)
			window->size--;
	} else if (others_ns < IMPORT_WAITING_MIN * elapsed_ns && window->is_reached) {
		if (window->size < window->max)
			window->size++;
	}
}

void import_window_acked(struct import_window *window, uint64_t now_ns, uint64_t waited_ns)
{
	/* Nothing real takes longer, and sums of these fit. */
	if (waited_ns > NS_PER_S * 3600)
		waited_ns = NS_PER_S * 3600;
	if (waited_ns < window->shortest_ns)
		window->shortest_ns = waited_ns;
	window->age_acked++;
	if (window->size_before > 0) {
		if (window->age_acked <= window->size_before)
			return;
		window->size = window->size_before;
		window->size_before = 0;
		import_window_begin_round(window, now_ns);
		return;
	}
	window->waited_ns += waited_ns;
	if (++window->acked < window->size)
		return;
	if (now_ns > window->began_ns)
		import_window_decide(window, now_ns - window->began_ns);
	import_window_begin_round(window, now_ns);
	if (window->age_acked >= IMPORT_AGE)
		import_window_begin_age(window);
}
