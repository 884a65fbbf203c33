/*
 * All selectors go to the aggregator in one question, so that both sides are of one moment; files
 * are read here. A folded file has no type of its own and takes that of the other side, so files
 * come last.
 */

#include "query/source.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile/naming.h"
#include "profile/selector.h"
#include "query/client.h"
#include "query/complain.h"
#include "query/progress.h"
#include "query/units.h"

bool source_is_file(const char *word)
{
	if (strcmp(word, "-") == 0)
		return true;
	if (strchr(word, '{'))
		return false;
	return strchr(word, '/') || profile_file_form_of(word) != PROFILE_FILE_GUESS;
}

void source_free(struct source *source)
{
	if (!source)
		return;
	for (uint32_t i = 0; i < SOURCE_SIDES_MAX; i++) {
		struct source_side *side = &source->sides[i];
		answer_free(side->answer);
		profile_file_fini(&side->file);
		free(side->chosen);
		free(side->words);
	}
	free(source->type);
	free(source->unit);
	free(source);
}

int source_selector(const char *word, const char *type, char **ret_text)
{
	char error[256];
	AUTO(selector) selector = NULL;
	int result = selector_parse(word, &selector, error, sizeof(error));
	if (result == -EINVAL)
		return complain(EXIT_CODE_USAGE, "selector %s: %s", word, error);
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "out of memory");
	const char *own = selector_type(selector);
	if (own && type && strcmp(own, type) != 0)
		return complain(EXIT_CODE_USAGE,
		        "selector %s: its type is %s, and --type says %s; leave one out", word, own,
		        type);

	AUTO_BUF text = { 0 };
	if (!own && type)
		buf_put(&text, type, strlen(type));
	selector_print(selector, &text);
	buf_put_u8(&text, '\0');
	size_t count;
	*ret_text = (char *)buf_take(&text, &count);
	return *ret_text ? 0 : complain(EXIT_CODE_FAILED, "out of memory");
}

/* Copies what an answer says of one side. */
static void source_take_answer(struct source_side *side, uint32_t index)
{
	const struct answer_side *from = &side->answer->sides[index];
	side->batch = from->batch;
	for (int part = 0; part < ANSWER_PARTS; part++)
		side->parts[part] = from->parts[part];
	side->completeness = from->completeness;
	if (from->completeness.last_ns <= from->completeness.first_ns)
		return;
	side->span_ns = from->completeness.last_ns - from->completeness.first_ns;
	/* What is exported says when there was data, not what was asked for. */
	from->batch->start_ns = from->completeness.first_ns;
	from->batch->duration_ns = side->span_ns;
}

/* Parts that belong together are there together, and have a frame where they must. */
static bool source_has_parts(const struct answer *answer, uint32_t question)
{
	bool is_whole = true;
	for (uint32_t i = 0; i < answer->sides_count; i++) {
		struct batch *const *parts = answer->sides[i].parts;
		const struct batch *flaws = parts[ANSWER_FLAWS];
		is_whole &= question != WIRE_ASK_FUNCTIONS || parts[ANSWER_CUM];
		is_whole &= (!parts[ANSWER_CUM] && !parts[ANSWER_CUT]) || flaws;
		is_whole &= !parts[ANSWER_CUT] ||
		            (parts[ANSWER_CUT_NODES] && parts[ANSWER_CUT_CHILDREN]);
		for (uint32_t row = 0; flaws && row < flaws->rows_count; row++)
			is_whole &= flaws->rows[row].node != DICT_NODE_ROOT;
	}
	return is_whole;
}

static int source_ask(const struct shared_args *shared, const struct source_request *request,
        struct source *source)
{
	struct wire_query query = {
		.question = request->question ? request->question : WIRE_ASK_PROFILE,
		.level = request->level,
		.group = request->group,
		.nodes_max = request->nodes_max,
		.by_count = request->by_count,
		.by_cum = request->by_cum,
		.by_change = request->by_change,
		.is_canonical = request->is_canonical,
	};
	memcpy(query.by, request->by, sizeof(query.by));
	uint32_t asked[SOURCE_SIDES_MAX];
	for (uint32_t i = 0; i < request->sides_count; i++) {
		struct source_side *side = &source->sides[i];
		if (side->is_file)
			continue;
		assert(side->words);
		asked[query.sides_count] = i;
		query.sides[query.sides_count++] = (struct wire_query_side){
			.selector = { side->words, (uint32_t)strlen(side->words) },
			.from_ns = side->from_ns,
			.to_ns = side->to_ns,
		};
	}
	if (query.sides_count == 0)
		return 0;

	AUTO(client) client = NULL;
	AUTO_BUF bytes = { 0 };
	int code = client_open(shared, &client);
	if (code == 0)
		code = client_ask(client, &query, &bytes);
	if (code)
		return code;

	/* Each side owns an answer, or has a part of the first one's. */
	struct reader reader = reader_of(bytes.bytes, bytes.count);
	struct answer *answer;
	int result = answer_decode(&reader, &answer);
	if (result < 0)
		return client_explain(client, result == -EBADMSG ? -EPROTO : result);
	source->sides[asked[0]].answer = answer;
	if (answer->sides_count != query.sides_count || !source_has_parts(answer, query.question))
		return client_explain(client, -EPROTO);
	source->names_rewritten = answer->names_rewritten;
	for (uint32_t i = 0; i < query.sides_count; i++) {
		struct source_side *side = &source->sides[asked[i]];
		side->answer = answer;
		source_take_answer(side, i);
		if (i > 0)
			side->answer = NULL;
	}
	return 0;
}

static int source_read(const char *path, const char *type, struct source_side *side)
{
	/* A pprof file keeps its own names; --type picks one of them further down. */
	bool folded = profile_file_form_of(path) != PROFILE_FILE_PPROF;
	struct profile_file_options options = { .type = folded ? type : NULL };
	char doing[160];
	snprintf(doing, sizeof(doing), "reading %s", path);
	progress_begin(doing);
	int code = profile_file_read(path, &options, &side->file);
	progress_end();
	if (code)
		return code;

	const struct pprof_report *report = &side->file.report;
	side->batch = side->file.batch;
	side->span_ns = report->duration_ns;
	side->from_ns = report->time_unix_ns;
	side->to_ns = report->time_unix_ns ? report->time_unix_ns + report->duration_ns : 0;
	side->completeness = (struct completeness){
		.intervals = 1,
		.samples = report->samples,
		.coverage_ns = report->duration_ns,
		.series = dict_mark(side->batch->dict).series,
		.observers = 1,
		.first_ns = side->from_ns,
		.last_ns = side->to_ns,
	};
	return 0;
}

/*
 * Marks the series that a side has anything of: both sides of an answer share one dict, so not
 * every series in it is one of this side.
 */
static bool *source_used_series(const struct source_side *side)
{
	uint32_t count = dict_mark(side->batch->dict).series;
	bool *used = calloc((size_t)count + 1, sizeof(*used));
	if (!used)
		return NULL;
	for (uint32_t i = 0; i < side->batch->rows_count; i++)
		used[side->batch->rows[i].series] = true;
	for (uint32_t i = 0; i < side->batch->coverage_count; i++)
		used[side->batch->coverage[i].series] = true;
	for (uint32_t i = 0; i < count && side->is_file; i++)
		used[i] = true;
	return used;
}

/* The distinct types of a side as "cpu (nanoseconds), alloc (bytes)", and how many. */
static uint32_t source_list_types(const struct source_side *side, const bool *used, struct buf *to)
{
	const struct dict *dict = side->batch->dict;
	uint32_t count = dict_mark(dict).series, types = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct series *series = dict_get_series(dict, i);
		bool known = !used[i];
		for (uint32_t before = 0; before < i && !known; before++) {
			const struct series *other = dict_get_series(dict, before);
			known = used[before] && other->type == series->type &&
			        other->unit == series->unit;
		}
		if (known)
			continue;
		buf_printf(to, "%s%s (%s)", types ? ", " : "", dict_text(dict, series->type),
		        dict_text(dict, series->unit));
		types++;
	}
	buf_put_u8(to, '\0');
	return types;
}

static int source_choose_failed(
        const struct source_side *side, const char *type, uint32_t types, const struct buf *list)
{
	const char *words = side->words, *text = list->failed ? "?" : (const char *)list->bytes;
	if (type)
		return complain(
		        EXIT_CODE_USAGE, "%s: has no type %s; it has %s", words, type, text);
	return complain(EXIT_CODE_USAGE, "%s: %u types match: %s; choose one with --type TYPE",
	        words, types, text);
}

/* Marks the series of the one type that is meant, which may be known from the other side. */
static int source_choose(
        struct source *source, struct source_side *side, const char *type, const char *unit)
{
	const struct dict *dict = side->batch->dict;
	uint32_t count = dict_mark(dict).series;
	side->chosen = calloc((size_t)count + 1, sizeof(*side->chosen));
	autofree bool *used = source_used_series(side);
	if (!side->chosen || !used)
		return complain(EXIT_CODE_FAILED, "out of memory");

	bool any = false;
	const char *found_type = NULL, *found_unit = NULL;
	bool several = false;
	for (uint32_t i = 0; i < count; i++) {
		if (!used[i])
			continue;
		any = true;
		const struct series *series = dict_get_series(dict, i);
		const char *its_type = dict_text(dict, series->type);
		const char *its_unit = dict_text(dict, series->unit);
		if ((type && strcmp(its_type, type) != 0) || (unit && strcmp(its_unit, unit) != 0))
			continue;
		side->chosen[i] = true;
		several = several || (found_type && (strcmp(found_type, its_type) != 0 ||
		                                            strcmp(found_unit, its_unit) != 0));
		found_type = its_type;
		found_unit = its_unit;
	}
	if (several || (any && !found_type)) {
		AUTO_BUF list = { 0 };
		uint32_t types = source_list_types(side, used, &list);
		return source_choose_failed(side, several ? NULL : type, types, &list);
	}
	if (found_type && !source->type) {
		source->type = strdup(found_type);
		source->unit = strdup(found_unit);
		if (!source->type || !source->unit)
			return complain(EXIT_CODE_FAILED, "out of memory");
	}
	return 0;
}

/* Of an answer without a single row: what its selector says, with the unit that such types have. */
static int source_name_nothing(struct source *source)
{
	if (source->type)
		return 0;
	const char *words = source->sides[0].words;
	size_t count = strcspn(words, "{");
	bool ns = count > 0 && (strncmp(words, "cpu{", 4) == 0 || strcmp(words, "cpu") == 0 ||
	                               strncmp(words, "offcpu", 6) == 0);
	source->type = source->sides[0].is_file ? strdup("value") : strndup(words, count);
	source->unit = strdup(ns ? "nanoseconds" : "count");
	return source->type && source->unit ? 0 : complain(EXIT_CODE_FAILED, "out of memory");
}

static int source_too_much(const struct source_side *side)
{
	return complain(EXIT_CODE_FAILED,
	        "%s: values add up to more than 64 bits hold; narrow the question", side->words);
}

/* What rows that are not whole stacks do not show: see enum answer_part. -EOVERFLOW. */
static int source_count_parts(struct source_side *side)
{
	struct completeness *all = &side->completeness;
	const struct dict *dict = side->batch->dict;
	const struct batch *flaws = side->parts[ANSWER_FLAWS], *cut = side->parts[ANSWER_CUT];
	for (uint32_t i = 0; flaws && i < flaws->rows_count; i++) {
		const struct row *row = &flaws->rows[i];
		if (side->chosen && !side->chosen[row->series])
			continue;
		struct frame frame = dict_get_frame(dict, dict_get_node(dict, row->node).frame);
		uint64_t *sum = frame.kind == FRAME_TRUNCATED ? &all->value_truncated
		                                              : &all->value_unknown_leaf;
		if (__builtin_add_overflow(*sum, row->value, sum))
			return -EOVERFLOW;
	}
	for (uint32_t i = 0; cut && i < cut->rows_count; i++)
		if ((!side->chosen || side->chosen[cut->rows[i].series]) &&
		        __builtin_add_overflow(all->value, cut->rows[i].value, &all->value))
			return -EOVERFLOW;
	return 0;
}

static bool source_is_unknown(const struct dict *dict, uint32_t node)
{
	if (node == DICT_NODE_ROOT)
		return false;
	struct frame leaf = dict_get_frame(dict, dict_get_node(dict, node).frame);
	return naming_is_unknown(&leaf);
}

/*
 * What can be seen in the rows themselves is counted here, for the chosen type only and for files
 * and aggregators alike.
 */
static int source_count(struct source_side *side)
{
	const struct batch *batch = side->batch;
	const struct dict *dict = batch->dict;
	uint32_t nodes = dict_mark(dict).nodes;
	autofree bool *truncated = calloc((size_t)nodes + 1, sizeof(*truncated));
	if (!truncated)
		return complain(EXIT_CODE_FAILED, "out of memory");
	for (uint32_t i = 1; i < nodes; i++) {
		struct node node = dict_get_node(dict, i);
		truncated[i] = truncated[node.parent] ||
		               dict_get_frame(dict, node.frame).kind == FRAME_TRUNCATED;
	}

	struct completeness *all = &side->completeness;
	all->value = all->value_truncated = all->value_unknown_leaf = 0;
	side->value_empty = 0;
	if (source_count_parts(side) < 0)
		return source_too_much(side);
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		if (side->chosen && !side->chosen[row->series])
			continue;
		uint64_t value;
		if (__builtin_mul_overflow(
		            row->value, dict_get_series(dict, row->series)->period, &value) ||
		        __builtin_add_overflow(all->value, value, &all->value))
			return source_too_much(side);
		if (row->node == DICT_NODE_ROOT)
			side->value_empty += value;
		/* Where stacks are not whole, their parts have said so. */
		if (side->parts[ANSWER_FLAWS] == NULL && truncated[row->node])
			all->value_truncated += value;
		if (side->parts[ANSWER_FLAWS] == NULL && source_is_unknown(dict, row->node))
			all->value_unknown_leaf += value;
	}
	side->value = all->value;
	return 0;
}

static int source_begin_side(
        const struct source_request *request, uint32_t index, struct source_side *side)
{
	int code = 0;
	side->is_file = source_is_file(request->words[index]);
	side->from_ns = request->from_ns[index];
	side->to_ns = request->to_ns[index];
	if (side->is_file)
		side->words = strdup(request->words[index]);
	else
		code = source_selector(request->words[index], request->type, &side->words);
	if (code == 0 && !side->words)
		code = complain(EXIT_CODE_FAILED, "out of memory");
	return code;
}

int source_explain(const char *words, const struct completeness *all)
{
	if (all->unreadable_count > 0)
		return complain(EXIT_CODE_FAILED,
		        "%s: what there is in this range cannot be read: %s of %s; "
		        "profleet-aggregator --verify names all that is damaged",
		        words, all->unreadable[0].what,
		        units_time(all->unreadable[0].from_ns).text);
	if (all->cut_begin_ns > 0)
		return complain(EXIT_CODE_NO_DATA,
		        "%s: what is left of this range is in a window of %s that begins before "
		        "it, and of which nothing finer is left; ask --from where that begins",
		        words, units_duration(all->cut_begin_ns).text);
	if (all->windows_unanswerable > 0)
		return complain(EXIT_CODE_NO_DATA,
		        "%s: what is left of this range are sums that no longer tell this apart; "
		        "ask by service, version or region, or for a range that has its detail",
		        words);
	return 0;
}

int source_nothing(const char *words, const struct completeness *all)
{
	int code = source_explain(words, all);
	if (code)
		return code;
	return complain(EXIT_CODE_NO_DATA,
	        "%s: no series matches in this range; `profleet series` lists what there is, "
	        "--since looks further back; a day of which only its sums are left is found by "
	        "its beginning",
	        words);
}

/* Reads a file, or takes what was answered, and chooses the type. */
static int source_take_side(
        const struct source_request *request, uint32_t index, struct source *source)
{
	struct source_side *side = &source->sides[index];
	const char *type = request->type ? request->type : source->type;
	int code = side->is_file ? source_read(request->words[index], type, side) : 0;
	if (code)
		return code;
	assert(side->batch);
	if (!side->is_file && side->batch->rows_count == 0 && side->completeness.series == 0)
		return source_nothing(side->words, &side->completeness);
	return request->all_types ? 0 : source_choose(source, side, type, source->unit);
}

/* Could more be said of some side if its series were added up? */
static bool source_lacks(const struct source *source)
{
	bool lacks = false;
	for (uint32_t i = 0; i < source->sides_count; i++)
		lacks |= source->sides[i].completeness.windows_unanswerable > 0;
	return lacks;
}

static void source_drop_answers(struct source *source)
{
	for (uint32_t i = 0; i < source->sides_count; i++) {
		struct source_side *side = &source->sides[i];
		answer_free(side->answer);
		side->answer = NULL;
		if (!side->is_file)
			side->batch = NULL;
	}
}

static int source_load_into(const struct shared_args *shared, const struct source_request *request,
        struct source *source)
{
	uint32_t count = request->sides_count;
	int code = 0;
	for (uint32_t i = 0; i < count && code == 0; i++)
		code = source_begin_side(request, i, &source->sides[i]);
	source->sides_count = count;
	if (code == 0)
		code = source_ask(shared, request, source);
	if (code == 0 && request->may_join && source_lacks(source)) {
		struct source_request joined = *request;
		joined.group = WIRE_GROUP_TYPE;
		source->is_joined = true;
		source_drop_answers(source);
		code = source_ask(shared, &joined, source);
	}

	/* Selectors, then files, which may lack a type. */
	for (uint32_t i = 0; i < count && code == 0; i++)
		if (!source->sides[i].is_file)
			code = source_take_side(request, i, source);
	for (uint32_t i = 0; i < count && code == 0; i++)
		if (source->sides[i].is_file)
			code = source_take_side(request, i, source);
	if (code == 0 && !request->all_types)
		code = source_name_nothing(source);
	for (uint32_t i = 0; i < count && code == 0; i++)
		code = source_count(&source->sides[i]);
	return code;
}

int source_load(const struct shared_args *shared, const struct source_request *request,
        struct source **ret_source)
{
	assert(request->sides_count >= 1 && request->sides_count <= SOURCE_SIDES_MAX);

	AUTO(source) source = calloc(1, sizeof(*source));
	if (!source)
		return complain(EXIT_CODE_FAILED, "out of memory");
	int code = source_load_into(shared, request, source);
	if (code)
		return code;
	source->is_cpu = source->type && strcmp(source->type, "cpu") == 0 &&
	                 strcmp(source->unit, "nanoseconds") == 0;
	*ret_source = TAKE(source);
	return 0;
}
