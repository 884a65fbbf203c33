/*
 * ask measures questions as the command line asks them, without its start and its printing: from
 * the request to the whole answer in memory.
 *
 *	bench.ask ADDRESS REPEAT functions|tree|all SELECTOR [SELECTOR]
 *
 * `functions` is what top and diff ask for, `tree` the 16 384 greatest nodes, `all` every stack, as
 * an export needs it. With a second selector the answer has two sides, as that of a diff. Every
 * repetition ends its range a nanosecond later, so that no answer could be an earlier one. The
 * first is not counted. One line: the median, least and greatest milliseconds, and the bytes of the
 * answer.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "profile/answer.h"
#include "profile/naming.h"
#include "query/client.h"

#define ASK_REPEAT_MAX 1000
#define ASK_TO_NS      (UINT64_C(4000000000) * NS_PER_S)

static int ask_compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;
	return (left > right) - (left < right);
}

static struct wire_text ask_text(const char *text)
{
	return (struct wire_text){ text, (uint32_t)strlen(text) };
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum wire_question question;
		uint32_t nodes_max;
	} kinds[] = { { "functions", WIRE_ASK_FUNCTIONS, 21 }, { "tree", WIRE_ASK_TREE, 16384 },
		{ "all", WIRE_ASK_PROFILE, 0 } };
	size_t kind = 0;
	while (argc > 3 && kind < COUNT_OF(kinds) && strcmp(argv[3], kinds[kind].name) != 0)
		kind++;
	if (argc < 5 || argc > 6 || kind == COUNT_OF(kinds)) {
		fprintf(stderr, "usage: bench.ask ADDRESS REPEAT functions|tree|all SELECTOR "
		                "[SELECTOR]\n");
		return 2;
	}
	unsigned long repeat = strtoul(argv[2], NULL, 10);
	uint64_t times[ASK_REPEAT_MAX];
	if (repeat == 0 || repeat > ASK_REPEAT_MAX)
		return 2;
	struct shared_args shared = { .server = argv[1], .timeout_ns = 120 * NS_PER_S };
	AUTO(client) client = NULL;
	if (client_open(&shared, &client))
		return 1;
	AUTO_BUF answer = { 0 };
	for (unsigned long i = 0; i <= repeat; i++) {
		struct wire_query query = {
			.question = kinds[kind].question,
			.nodes_max = kinds[kind].nodes_max,
			.by_change = argc == 6,
			.level = NAMING_FUNCTION,
			.group = WIRE_GROUP_TYPE,
			.sides_count = (uint32_t)argc - 4,
		};
		for (uint32_t side = 0; side < query.sides_count; side++)
			query.sides[side] = (struct wire_query_side){
				.selector = ask_text(argv[4 + side]),
				.from_ns = 0,
				.to_ns = ASK_TO_NS + i,
			};
		buf_reset(&answer);
		uint64_t before_ns = clock_monotonic_ns(clock_real());
		if (client_ask(client, &query, &answer))
			return 1;
		if (i > 0)
			times[i - 1] = clock_monotonic_ns(clock_real()) - before_ns;
	}
	unsigned long median = repeat / 2;
	qsort(times, repeat, sizeof(*times), ask_compare);
	printf("ms_median %.3f ms_min %.3f ms_max %.3f bytes %zu\n", (double)times[median] / 1e6,
	        (double)times[0] / 1e6, (double)times[repeat - 1] / 1e6, answer.count);
	return 0;
}
