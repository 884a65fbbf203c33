/*
 * Whether a function is on a stack is asked once for each node: it is where its caller is, or it is
 * that frame's. Callers come first.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aggregator/named_stacks_private.h"
#include "core/auto.h"

/* By frame of the dict of functions: is it the function? NULL when out of memory. */
static uint8_t *frames_called(const struct named_stacks *stacks, const char *function)
{
	const struct names *names = stacks->names[JOIN_READABLE];
	const uint32_t *ids = stacks->frame_names[JOIN_READABLE];
	uint8_t *is_called = malloc(stacks->frames_count + UINT64_C(1));
	for (uint32_t i = 0; is_called && i < stacks->frames_count; i++)
		is_called[i] = strcmp(names_function(names, ids[i]), function) == 0;
	return is_called;
}

/* By node of the dict of functions, likewise. */
static uint8_t *nodes_below(const struct named_stacks *stacks, const char *function)
{
	autofree uint8_t *is_called = frames_called(stacks, function);
	const struct node *nodes = dict_get_nodes(stacks->dict);
	uint8_t *is_below = is_called ? calloc(stacks->nodes_count + UINT64_C(1), 1) : NULL;
	for (uint32_t i = 1; is_below && i < stacks->nodes_count; i++)
		is_below[i] = is_below[nodes[i].parent] | is_called[nodes[i].frame];
	return is_below;
}

int named_stacks_mark(struct named_stacks *stacks, struct naming_source *source,
        const char *function, struct named_stacks_rows rows, uint8_t *marks, uint32_t count)
{
	struct generation_names *names = NULL;
	int r = named_stacks_prepare(stacks, source, rows, &names);
	if (r < 0)
		return r;
	autofree uint8_t *is_below = nodes_below(stacks, function);
	if (!is_below)
		return -ENOMEM;
	uint32_t known_count;
	const uint32_t *known = naming_known(names->naming, &known_count);
	for (uint32_t node = 0; node < count && node < known_count; node++)
		if (known[node] != ID_NONE)
			marks[node] = is_below[known[node]] ? STORE_MARK_YES : STORE_MARK_NO;
	return 0;
}
