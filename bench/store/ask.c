/* Questions are built as a QUERY message is, and the answer is not encoded. */

#include "bench/store/ask.h"

#include <errno.h>

#include "aggregator/answer_build.h"
#include "profile/naming.h"

#define ASK_MEMORY_MAX  (UINT64_C(8) << 30)
#define ASK_ERROR_BYTES 512

static struct answer *ask_answer(
        struct store *store, const struct question *question, enum naming_level level)
{
	static const bool never = false;
	char error[ASK_ERROR_BYTES] = "";
	struct answer *answer = NULL;
	struct wire_query query = {
		.question = WIRE_ASK_PROFILE,
		.level = level,
		.group = WIRE_GROUP_TYPE,
		.sides_count = question->sides,
	};
	for (uint32_t i = 0; i < question->sides; i++)
		query.sides[i] = (struct wire_query_side){
			.selector = { question->selectors[i],
			        (uint32_t)strlen(question->selectors[i]) },
			.from_ns = question->from_ns[i],
			.to_ns = question->to_ns[i],
		};
	struct answer_build_options options = { .memory_max = ASK_MEMORY_MAX, .cancelled = &never };
	if (answer_build(store, &query, &options, &answer, error, sizeof(error)) < 0) {
		fprintf(stderr, "bench.store: %s: %s\n", question->selectors[0], error);
		exit(1);
	}
	return answer;
}

/* What is below each node, itself included, for one side. The root's is all. */
static uint64_t ask_tree(const struct dict *dict, const struct batch *batch, uint64_t *totals)
{
	uint32_t nodes = dict_mark(dict).nodes;
	memset(totals, 0, nodes * sizeof(*totals));
	for (uint32_t i = 0; i < batch->rows_count; i++)
		totals[batch->rows[i].node] += batch->rows[i].value;
	for (uint32_t node = nodes; --node > 0;)
		totals[dict_get_node(dict, node).parent] += totals[node];
	return totals[DICT_NODE_ROOT];
}

struct ask_result ask(struct store *store, const struct question *question)
{
	struct ask_result result = { 0 };
	double before = say_wall_s();
	AUTO(answer) answer = ask_answer(store, question, NAMING_FUNCTION);
	result.nodes = dict_mark(answer->dict).nodes;
	autofree uint64_t *totals = malloc((result.nodes + 1) * sizeof(*totals));
	SAY_OR_DIE(totals ? 0 : -ENOMEM);
	for (uint32_t i = 0; i < answer->sides_count; i++) {
		const struct batch *batch = answer->sides[i].batch;
		result.value += ask_tree(answer->dict, batch, totals) / FLEET_PERIOD_NS;
		result.rows += batch->rows_count;
	}
	result.ms = (say_wall_s() - before) * 1e3;
	return result;
}

double ask_sum_ms(struct store *store, const struct question *question)
{
	char error[ASK_ERROR_BYTES] = "";
	AUTO(selector) selector = NULL;
	AUTO(store_match) match = NULL;
	struct store_sum sum = { 0 };
	double before = say_wall_s();
	struct store_sum_options options = {
		.from_ns = question->from_ns[0],
		.to_ns = question->to_ns[0],
		.memory_max = ASK_MEMORY_MAX,
	};
	SAY_OR_DIE(selector_parse(question->selectors[0], &selector, error, sizeof(error)));
	SAY_OR_DIE(store_find_series(store, selector, options.from_ns, options.to_ns, &match));
	autofree uint32_t *groups = say_alloc(match->series_count, sizeof(*groups));
	options.match = match;
	options.groups = groups;
	SAY_OR_DIE(store_sum(store, &options, &sum));
	double ms = (say_wall_s() - before) * 1e3;
	store_sum_fini(&sum);
	return ms;
}

struct rows_sum ask_print(
        struct store *store, const struct rows *rows, const struct question *question)
{
	struct rows_sum print = { 0 };
	AUTO(answer) answer = ask_answer(store, question, NAMING_ADDRESS);
	for (uint32_t side = 0; side < answer->sides_count; side++) {
		const struct batch *batch = answer->sides[side].batch;
		for (uint32_t i = 0; i < batch->rows_count; i++) {
			uint64_t value = batch->rows[i].value / FLEET_PERIOD_NS;
			uint32_t stack = id_map_find(
			        rows->stacks, dict_node_hash(answer->dict, batch->rows[i].node));
			print.stacks++;
			print.value += value;
			/* A stack that nobody reported spoils the sum for certain. */
			print.mix += stack == ID_NONE ? UINT64_C(1) << 63 : rows_mix(stack, value);
		}
	}
	return print;
}
