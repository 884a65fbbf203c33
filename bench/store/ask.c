/* Questions are built as a QUERY message is, and the answer is not encoded. */

#include "bench/store/ask.h"

#include <errno.h>

#include "aggregator/answer_build.h"
#include "aggregator/answer_fold.h"
#include "profile/naming.h"

#define ASK_MEMORY_MAX  (UINT64_C(8) << 30)
#define ASK_ERROR_BYTES 512
#define ASK_NODES_MAX   16384 /* as a flame graph has */

static const bool ask_never = false;
static const struct answer_build_options ask_options = {
	.memory_max = ASK_MEMORY_MAX,
	.cancelled = &ask_never,
};

static struct wire_query ask_query(const struct question *question)
{
	struct wire_query query = {
		.question = WIRE_ASK_TREE,
		.nodes_max = ASK_NODES_MAX,
		.level = NAMING_FUNCTION,
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
	return query;
}

static void ask_must(const struct question *question, int result, const char *error)
{
	if (result == 0)
		return;
	fprintf(stderr, "bench.store: %s: %s\n", question->selectors[0], error);
	exit(1);
}

/* How many nodes there were, where the cut says so, or are. */
static uint32_t ask_nodes(const struct answer *answer)
{
	const struct batch *cut = answer->sides[0].parts[ANSWER_CUT_NODES];
	if (cut && cut->rows_count)
		return (uint32_t)cut->rows[0].value;
	return dict_mark(answer->dict).nodes;
}

struct ask_result ask(
        struct store *store, struct named_stacks *stacks, const struct question *question)
{
	struct ask_result result = { 0 };
	char error[ASK_ERROR_BYTES] = "";
	struct wire_query query = ask_query(question);
	AUTO(answer) answer = NULL;
	double before = say_wall_s();
	double cpu = say_thread_cpu_s();
	int r = answer_fold(store, stacks, &query, &ask_options, &answer, error, sizeof(error));
	result.ms = (say_wall_s() - before) * 1e3;
	result.cpu_ms = (say_thread_cpu_s() - cpu) * 1e3;
	ask_must(question, r, error);
	result.nodes = ask_nodes(answer);
	for (uint32_t i = 0; i < answer->sides_count; i++)
		result.value += answer->sides[i].completeness.value / FLEET_PERIOD_NS;
	return result;
}

struct ask_sum ask_sum(struct store *store, const struct question *question)
{
	char error[ASK_ERROR_BYTES] = "";
	AUTO(selector) selector = NULL;
	AUTO(store_match) match = NULL;
	struct store_sum sum = { 0 };
	double before = say_wall_s();
	double cpu = say_process_cpu_s();
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
	struct ask_sum took = { (say_wall_s() - before) * 1e3, (say_process_cpu_s() - cpu) * 1e3 };
	store_sum_fini(&sum);
	return took;
}

struct rows_sum ask_print(
        struct store *store, const struct rows *rows, const struct question *question)
{
	struct rows_sum print = { 0 };
	char error[ASK_ERROR_BYTES] = "";
	struct wire_query query = ask_query(question);
	AUTO(answer) answer = NULL;
	query.question = WIRE_ASK_PROFILE;
	query.level = NAMING_ADDRESS;
	ask_must(question, answer_build(store, &query, &ask_options, &answer, error, sizeof(error)),
	        error);
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
