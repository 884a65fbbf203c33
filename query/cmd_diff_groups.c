/*
 * diff --by: each value of the labels compared by itself, and what it adds to the change of the
 * whole. A group is a series of the answer, whose sides share one dict.
 *
 * Whether a group has changed is a matter of its instances, so these are asked for in a second
 * question: for each group and instance how much there was, and how long it was watched. Where
 * that does not come to what the answer has (sums of old data no longer tell instances apart, or
 * more came meanwhile), nothing is tested.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/hash.h"
#include "profile/naming.h"
#include "query/cmd_diff_private.h"
#include "query/complain.h"
#include "query/groups.h"
#include "query/json_reply.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/spread.h"
#include "query/text.h"
#include "query/units.h"

static const char diff_instance[] = "instance";
static const char diff_untold[] = "not all of it tells instances apart any more";

struct diff_group {
	uint32_t series; /* of the answer's dict */
	uint64_t value[2];
	uint64_t coverage_ns[2];
	bool is_large; /* enough to be tested */
	struct spread_sums spread[2];
	struct spread_pairs pairs;
	struct spread_test test;
	double adds; /* to the rate of the whole, or to its share */
};

struct diff_groups {
	const struct diff *diff;
	const struct source_request *request;
	struct diff_group *items;
	uint32_t count;
	uint32_t shown;
	bool *chosen; /* room to choose one */
	bool has_rate;
	uint64_t whole[2];       /* what rates, or shares, of the whole are of */
	const char *cluster;     /* what the spread is over: a label, or WIRE_BY_BUCKET */
	struct buf instances[2]; /* struct diff_instance */
	const char *untested;    /* why none was; NULL */
	uint32_t tested, paired;
};

static void diff_groups_fini(struct diff_groups *groups)
{
	free(groups->items);
	free(groups->chosen);
	for (int side = 0; side < 2; side++)
		buf_fini(&groups->instances[side]);
}

int diff_groups_request(const struct diff_args *args, bool has_file, enum output_format format,
        struct source_request *request)
{
	if (!args->by)
		return 0;
	if (strcmp(args->by, "flat") == 0 || strcmp(args->by, "cum") == 0)
		return complain(EXIT_CODE_USAGE,
		        "--by %s: groups go by a label, such as region; what is compared of a "
		        "function is --sort %s",
		        args->by, args->by);
	if (format == FORMAT_FOLDED || format == FORMAT_HTML)
		return complain(EXIT_CODE_USAGE,
		        "--by: only for tables, json and csv; give the label in the selectors");
	request->nodes_max = 0; /* which functions come first depends on the group */
	return groups_request(args->by, has_file, request);
}

/* ---- what each group has ---- */

static void diff_groups_add(struct diff_groups *groups, uint32_t side)
{
	const struct source_side *from = &groups->diff->source->sides[side];
	/* What source_load() has added up fits. */
	for (uint32_t i = 0; i < from->batch->rows_count; i++)
		groups->items[from->batch->rows[i].series].value[side] +=
		        from->batch->rows[i].value;
	for (uint32_t i = 0; i < from->batch->coverage_count; i++)
		groups->items[from->batch->coverage[i].series].coverage_ns[side] +=
		        from->batch->coverage[i].ns;
}

static int diff_groups_compare(const void *left, const void *right)
{
	const struct diff_group *a = left, *b = right;
	if (fabs(a->adds) != fabs(b->adds))
		return fabs(a->adds) > fabs(b->adds) ? -1 : 1;
	uint64_t of_a = a->value[0] + a->value[1], of_b = b->value[0] + b->value[1];
	if (of_a != of_b)
		return of_a > of_b ? -1 : 1;
	return (a->series > b->series) - (a->series < b->series);
}

static int diff_groups_make(struct diff_groups *groups)
{
	const struct source *source = groups->diff->source;
	const struct source_side *a = &source->sides[0], *b = &source->sides[1];
	uint32_t count = dict_mark(a->batch->dict).series;
	groups->items = calloc(count + UINT64_C(1), sizeof(*groups->items));
	groups->chosen = calloc(count + UINT64_C(1), sizeof(*groups->chosen));
	if (!groups->items || !groups->chosen)
		return complain(EXIT_CODE_FAILED, "out of memory");
	for (uint32_t side = 0; side < 2; side++)
		diff_groups_add(groups, side);
	groups->has_rate = report_has_rate(source);
	for (uint32_t side = 0; side < 2; side++)
		groups->whole[side] = groups->has_rate
		                              ? source->sides[side].completeness.coverage_ns
		                              : source->sides[side].value;
	for (uint32_t i = 0; i < count; i++) {
		struct diff_group group = groups->items[i];
		if ((group.value[0] == 0 && group.value[1] == 0) ||
		        (a->chosen && !a->chosen[i] && b->chosen && !b->chosen[i]))
			continue;
		group.series = i;
		group.adds = diff_part(group.value[1], groups->whole[1]) -
		             diff_part(group.value[0], groups->whole[0]);
		groups->items[groups->count++] = group;
	}
	if (groups->count > 1)
		qsort(groups->items, groups->count, sizeof(*groups->items), diff_groups_compare);
	uint32_t limit = groups->diff->args->groups;
	groups->shown = limit && limit < groups->count ? limit : groups->count;
	return 0;
}

/* ---- instances ---- */

/* One instance of one group, on one side. */
struct diff_instance {
	struct diff_group *group; /* NULL: of none that is listed */
	struct hash128 name;
	double value;
	double of; /* what the value is divided by */
};

static struct diff_group *diff_groups_find(struct diff_groups *groups, const json_t *labels)
{
	const struct source *source = groups->diff->source;
	for (uint32_t i = 0; i < groups->count; i++) {
		struct group group = { .series = groups->items[i].series };
		bool is_it = true;
		for (uint32_t j = 0; j < groups->request->by_count && is_it; j++) {
			char name[WIRE_TEXT_BYTES_MAX + 1];
			memcpy(name, groups->request->by[j].bytes, groups->request->by[j].count);
			name[groups->request->by[j].count] = '\0';
			is_it = strcmp(json_reply_text(labels, name),
			                groups_label(source, &group, groups->request->by[j])) == 0;
		}
		if (is_it)
			return &groups->items[i];
	}
	return NULL;
}

static int diff_compare_names(const void *left, const void *right)
{
	const struct diff_instance *a = left, *b = right;
	return memcmp(&a->name, &b->name, sizeof(a->name));
}

static int diff_compare_instances(const void *left, const void *right)
{
	const struct diff_instance *a = left, *b = right;
	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	return diff_compare_names(a, b);
}

/* Shares are of the whole instance, of which each group has a part, or nothing. */
static void diff_groups_share(struct diff_groups *groups, uint32_t side)
{
	struct buf *instances = &groups->instances[side];
	size_t count = ARRAY_COUNT(struct diff_instance, *instances);
	AUTO_BUF shares = { 0 };
	if (count > 1)
		qsort(instances->bytes, count, sizeof(struct diff_instance), diff_compare_names);
	const struct diff_instance *all = ARRAY(struct diff_instance, *instances);
	for (size_t first = 0, end; first < count; first = end) {
		double whole = 0;
		for (end = first; end < count && diff_compare_names(&all[end], &all[first]) == 0;
		        end++)
			whole += all[end].value;
		for (uint32_t i = 0; i < groups->count; i++) {
			struct diff_instance one = { &groups->items[i], all[first].name, 0, whole };
			if (!one.group->is_large)
				continue;
			for (size_t j = first; j < end; j++)
				one.value += all[j].group == one.group ? all[j].value : 0;
			buf_put(&shares, &one, sizeof(one));
		}
	}
	buf_reset(instances);
	if (shares.failed)
		instances->failed = true;
	else if (shares.count)
		buf_put(instances, shares.bytes, shares.count);
}

/* Of both sides, by group and name: each by itself, and those that are on both as pairs. */
static void diff_groups_add_instances(struct diff_groups *groups)
{
	const struct diff_instance *all[2];
	size_t count[2], at[2] = { 0, 0 };
	for (int side = 0; side < 2; side++) {
		struct buf *instances = &groups->instances[side];
		count[side] = ARRAY_COUNT(struct diff_instance, *instances);
		if (count[side] > 1)
			qsort(instances->bytes, count[side], sizeof(struct diff_instance),
			        diff_compare_instances);
		all[side] = ARRAY(struct diff_instance, *instances);
	}
	while (at[0] < count[0] || at[1] < count[1]) {
		int order = at[0] == count[0] ? 1
		            : at[1] == count[1]
		                    ? -1
		                    : diff_compare_instances(&all[0][at[0]], &all[1][at[1]]);
		double x[2] = { 0, 0 }, n[2] = { 0, 0 };
		struct diff_group *group = all[order > 0][at[order > 0]].group;
		for (int side = 0; side < 2; side++) {
			if (order != 0 && (order > 0) != (side == 1))
				continue;
			x[side] = all[side][at[side]].value;
			n[side] = all[side][at[side]].of;
			at[side]++;
			group->pairs.n[side] += n[side];
			if (n[side] > 0)
				spread_add(&group->spread[side], x[side], n[side]);
		}
		if (n[0] > 0 && n[1] > 0)
			spread_add_pair(&group->pairs, x, n);
	}
}

static double diff_sum_steps(const json_t *series, const char *key)
{
	const json_t *steps = json_object_get(series, "steps");
	double sum = 0;
	for (size_t i = 0; i < json_array_size(steps); i++)
		sum += json_reply_double(json_array_get(steps, i), key);
	return sum;
}

static int diff_groups_take_side(
        struct diff_groups *groups, uint32_t side, const struct json_reply *reply)
{
	const struct source *source = groups->diff->source;
	const json_t *list = json_object_get(reply->root, "series");
	double value = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *series = json_array_get(list, i);
		const json_t *labels = json_object_get(series, "labels");
		const char *name = json_reply_text(labels, groups->cluster);
		struct diff_instance one = {
			.name = hash128_bytes(name, strlen(name)),
			.value = diff_sum_steps(series, "value"),
			.of = diff_sum_steps(series, "coverage_ns"),
		};
		if (strcmp(json_reply_text(series, "type"), source->type) != 0 ||
		        strcmp(json_reply_text(series, "unit"), source->unit) != 0)
			continue;
		if (!*name)
			groups->untested = "series without the label instance";
		one.group = diff_groups_find(groups, labels);
		value += one.value;
		if (!groups->has_rate || (one.group && one.group->is_large))
			buf_put(&groups->instances[side], &one, sizeof(one));
	}
	/* Doubles of sums past 2^53 are a little off. */
	double expected = (double)source->sides[side].value;
	if (fabs(value - expected) > expected * 1e-9)
		groups->untested = diff_untold;
	if (!groups->has_rate)
		diff_groups_share(groups, side);
	return groups->instances[side].failed ? complain(EXIT_CODE_FAILED, "out of memory") : 0;
}

static int diff_groups_ask(struct diff_groups *groups, struct client *client, uint32_t index)
{
	const struct source_side *side = &groups->diff->source->sides[index];
	struct wire_query query = {
		.question = WIRE_ASK_TIMELINE,
		.level = NAMING_FUNCTION,
		.group = WIRE_GROUP_LABELS,
		.by_count = groups->request->by_count,
		.sides_count = 1,
		.sides = { { .selector = { side->words, (uint32_t)strlen(side->words) },
		        .from_ns = side->from_ns,
		        .to_ns = side->to_ns } },
		.step_ns = side->to_ns, /* one step: they begin at multiples */
		.function = { "", 0 },
	};
	struct json_reply reply = { 0 };
	memcpy(query.by, groups->request->by, sizeof(query.by));
	query.by[query.by_count++] = (struct wire_text){ groups->cluster,
		(uint32_t)strlen(groups->cluster) };
	int code = json_reply_ask(client, &query, &reply);
	if (code)
		return code;
	code = diff_groups_take_side(groups, index, &reply);
	json_reply_fini(&reply);
	return code;
}

/* Those with the most value are tested; whether they changed has no say in it. */
static bool diff_groups_is_large(const struct diff_groups *groups, const struct diff_group *group)
{
	uint32_t larger = 0;
	for (uint32_t i = 0; i < groups->count; i++) {
		const struct diff_group *other = &groups->items[i];
		uint64_t value = other->value[0] + other->value[1];
		uint64_t own = group->value[0] + group->value[1];
		larger += value > own || (value == own && other->series < group->series);
	}
	return larger < SPREAD_TESTS_MAX;
}

static void diff_groups_test(struct diff_groups *groups)
{
	const struct source *source = groups->diff->source;
	struct spread_test tests[SPREAD_TESTS_MAX];
	uint32_t of[SPREAD_TESTS_MAX];
	uint32_t count = 0;
	bool is_share = !groups->has_rate;
	double period = diff_period(source);
	for (uint32_t i = 0; i < groups->count; i++) {
		struct diff_group *group = &groups->items[i];
		group->test.untested = groups->untested ? "" : "not among the 20 largest";
		if (groups->untested || !group->is_large)
			continue;
		bool is_paired = spread_is_paired(&group->pairs);
		tests[count] = is_paired ? spread_compare_pairs(&group->pairs, period, is_share)
		                         : spread_compare(group->spread, period, is_share);
		groups->paired += is_paired && !tests[count].untested;
		of[count++] = i;
	}
	spread_correct(tests, count);
	for (uint32_t i = 0; i < count; i++) {
		groups->items[of[i]].test = tests[i];
		groups->tested += tests[i].untested == NULL;
	}
}

static int diff_groups_ask_by(
        struct diff_groups *groups, struct client *client, const char *cluster)
{
	int code = 0;
	groups->cluster = cluster;
	groups->untested = NULL;
	for (uint32_t side = 0; side < 2 && code == 0; side++) {
		buf_reset(&groups->instances[side]);
		code = diff_groups_ask(groups, client, side);
	}
	return code;
}

/* By instances, or by what old sums have of them. */
static int diff_groups_ask_both(struct diff_groups *groups, struct client *client)
{
	bool is_short = true;
	for (uint32_t side = 0; side < 2; side++) {
		const struct source_side *of = &groups->diff->source->sides[side];
		is_short &= of->to_ns - of->from_ns <= DIFF_INSTANCES_NS;
	}
	int code = is_short ? diff_groups_ask_by(groups, client, diff_instance) : 0;
	if (code == 0 && (!is_short || groups->untested == diff_untold))
		code = diff_groups_ask_by(groups, client, WIRE_BY_BUCKET);
	if (code == 0)
		diff_groups_add_instances(groups);
	return code;
}

static int diff_groups_spread(struct diff_groups *groups)
{
	bool has_room = groups->request->by_count < WIRE_BY_MAX;
	for (uint32_t i = 0; i < groups->request->by_count; i++)
		has_room &= groups->request->by[i].count != sizeof(diff_instance) - 1 ||
		            memcmp(groups->request->by[i].bytes, diff_instance,
		                    sizeof(diff_instance) - 1) != 0;
	AUTO(client) client = NULL;
	int code = 0;
	for (uint32_t i = 0; i < groups->count; i++)
		groups->items[i].is_large = diff_groups_is_large(groups, &groups->items[i]);
	if (!has_room)
		groups->untested = "a group is one instance, or four labels leave no room for it";
	else
		code = client_open(&groups->diff->args->shared, &client);
	if (has_room && code == 0)
		code = diff_groups_ask_both(groups, client);
	if (code == 0)
		diff_groups_test(groups);
	return code;
}

/* ---- what is said of a group ---- */

static const char *diff_group_mark(const struct diff_group *group)
{
	if (group->value[0] == 0)
		return "only in B";
	return group->value[1] == 0 ? "only in A" : "";
}

/* What its own rate, or share, is of. */
static uint64_t diff_group_whole(
        const struct diff_groups *groups, const struct diff_group *group, uint32_t side)
{
	return groups->has_rate ? group->coverage_ns[side] : groups->whole[side];
}

static void diff_group_wholes(
        const struct diff_groups *groups, const struct diff_group *group, uint64_t ret_whole[2])
{
	for (uint32_t side = 0; side < 2; side++)
		ret_whole[side] = diff_group_whole(groups, group, side);
}

static bool diff_group_change(
        const struct diff_groups *groups, const struct diff_group *group, double *ret_change)
{
	uint64_t whole[2];
	double ratio;
	diff_group_wholes(groups, group, whole);
	if (!diff_ratio(group->value, whole, &ratio))
		return false;
	*ret_change = ratio - 1;
	return true;
}

static const char *diff_group_verdict(const struct diff_group *group)
{
	const struct spread_test *test = &group->test;
	if (*diff_group_mark(group))
		return diff_group_mark(group);
	return diff_verdict(test);
}

static void diff_group_put_evidence(const struct diff_group *group, struct text_table *table)
{
	const char *verdict = diff_group_verdict(group);
	const struct spread_test *test = &group->test;
	if (*diff_group_mark(group))
		text_table_put(table, verdict);
	else if (test->untested)
		text_table_printf(
		        table, "%s%s%s", verdict, *test->untested ? ": " : "", test->untested);
	else if (test->q < SPREAD_FDR)
		text_table_printf(table, "%s (q %.2g)", verdict, test->q);
	else
		text_table_printf(table, "%s (q %.2g; %s would have shown)", verdict, test->q,
		        units_change(exp(test->smallest)).text);
}

static void diff_groups_put_row(
        const struct diff_groups *groups, const struct diff_group *group, struct text_table *table)
{
	const struct source *source = groups->diff->source;
	AUTO_BUF name = { 0 };
	uint64_t whole[2];
	diff_group_wholes(groups, group, whole);
	for (uint32_t side = 0; side < 2; side++) {
		if (groups->has_rate)
			text_table_put(
			        table, units_millicores(group->value[side], whole[side]).text);
		else
			text_table_put(table, units_percent(group->value[side], whole[side]).text);
		text_table_put(table, units_value(source->unit, group->value[side]).text);
	}
	if (group->value[0] == 0 || group->value[1] == 0)
		text_table_put(table, group->value[0] ? "gone" : "new");
	else
		diff_put_change(table, group->value, whole);
	if (group->test.untested || *diff_group_mark(group))
		text_table_put(table, "-");
	else
		text_table_printf(table, "%s .. %s",
		        units_change(exp(group->test.effect - group->test.effect_error)).text,
		        units_change(exp(group->test.effect + group->test.effect_error)).text);
	if (groups->has_rate)
		text_table_printf(table, "%+.1f mcores", 1000 * group->adds);
	else
		text_table_printf(table, "%+.2f pp", 100 * group->adds);
	text_table_color(table, group->adds > 0 ? "33" : group->adds < 0 ? "34" : NULL);
	diff_group_put_evidence(group, table);
	struct group as = { .series = group->series };
	groups_put_name(groups->request, source, &as, &name);
	buf_put_u8(&name, '\0');
	text_table_put(table, name.failed ? "?" : (const char *)name.bytes);
}

static void diff_groups_put_list(
        const struct diff_groups *groups, const struct output *output, struct buf *to)
{
	const char *of = groups->has_rate ? "mcores" : "share";
	char a[16], b[16];
	snprintf(a, sizeof(a), "%s A", of);
	snprintf(b, sizeof(b), "%s B", of);
	const struct text_column columns[] = {
		{ a, TEXT_RIGHT, 0, false },
		{ "value A", TEXT_RIGHT, 0, false },
		{ b, TEXT_RIGHT, 0, false },
		{ "value B", TEXT_RIGHT, 0, false },
		{ "change", TEXT_RIGHT, 0, false },
		{ "95 %", TEXT_RIGHT, 0, false },
		{ "adds", TEXT_RIGHT, 0, false },
		{ "evidence", TEXT_LEFT, 0, false },
		{ "group", TEXT_LEFT, 48, true },
	};
	AUTO(text_table) table = text_table_new(columns, COUNT_OF(columns));
	if (!table) {
		to->failed = true;
		return;
	}
	for (uint32_t i = 0; i < groups->shown; i++)
		diff_groups_put_row(groups, &groups->items[i], table);
	text_table_print(table, output->width, output->color, to);
}

/* ---- in one of the forms ---- */

/* The source with nothing but one group. */
static struct source diff_groups_only(
        const struct diff_groups *groups, const struct diff_group *group)
{
	struct source only = *groups->diff->source;
	for (uint32_t i = 0; i < groups->count; i++)
		groups->chosen[groups->items[i].series] = &groups->items[i] == group;
	for (uint32_t side = 0; side < 2; side++) {
		only.sides[side].chosen = groups->chosen;
		only.sides[side].value = group->value[side];
		only.sides[side].completeness.coverage_ns = group->coverage_ns[side];
	}
	return only;
}

static const char *const diff_sides[] = { "a", "b" };

static void diff_group_json(const struct diff_groups *groups, const struct diff_group *group,
        const struct diff *diff, struct json_writer *json)
{
	const struct group as = { .series = group->series };
	const struct spread_test *test = &group->test;
	double change;
	json_object_begin(json);
	json_key(json, "labels");
	groups_json_labels(groups->request, groups->diff->source, &as, json);
	for (uint32_t side = 0; side < 2; side++) {
		json_key(json, diff_sides[side]);
		json_object_begin(json);
		json_key_u64(json, "value", group->value[side]);
		report_json_share(json, "share", group->value[side],
		        groups->diff->source->sides[side].value, 1);
		json_key_u64(json, "coverage_ns", group->coverage_ns[side]);
		report_json_share(json, "mcores_per_instance", group->value[side],
		        groups->has_rate ? group->coverage_ns[side] : 0, 1000);
		json_object_end(json);
	}
	json_key(json, "change");
	if (diff_group_change(groups, group, &change))
		json_double(json, change);
	else
		json_write_null(json);
	json_key_double(json, "adds", groups->has_rate ? 1000 * group->adds : group->adds);
	json_key_text(json, "mark", diff_group_mark(group));
	json_key_text(json, "verdict", diff_group_verdict(group));
	diff_json_test(test, json);
	diff_json_functions(diff, json);
	json_object_end(json);
}

static void diff_group_csv(
        const struct diff_groups *groups, const struct diff_group *group, struct buf *to)
{
	const struct group as = { .series = group->series };
	const struct spread_test *test = &group->test;
	double change;
	for (uint32_t i = 0; i < groups->request->by_count; i++) {
		text_put_csv(to, groups_label(groups->diff->source, &as, groups->request->by[i]));
		buf_put_u8(to, ',');
	}
	buf_printf(to, "%llu,%llu,", (unsigned long long)group->value[0],
	        (unsigned long long)group->value[1]);
	text_put_csv(to, groups->diff->source->unit);
	buf_printf(to, ",%llu,%llu,", (unsigned long long)group->coverage_ns[0],
	        (unsigned long long)group->coverage_ns[1]);
	if (diff_group_change(groups, group, &change))
		buf_printf(to, "%.6f", change);
	buf_printf(to, ",%.9f,", groups->has_rate ? 1000 * group->adds : group->adds);
	if (!test->untested)
		buf_printf(to, "%.6g,%.6g,", test->p, test->q);
	else
		buf_printf(to, ",,");
	buf_printf(to, "%s\n", diff_group_verdict(group));
}

static void diff_group_put(const struct diff_groups *groups, const struct diff_group *group,
        const struct diff *diff, bool wide, const struct output *output, struct buf *to)
{
	const struct group as = { .series = group->series };
	buf_put_u8(to, '\n');
	groups_put_name(groups->request, groups->diff->source, &as, to);
	buf_printf(to, "\n");
	diff_put_rows(diff, wide, output, to);
	buf_printf(to, "%s of %s functions shown\n", units_count(diff->shown).text,
	        units_count(functions_count_all(diff->functions)).text);
}

static int diff_groups_each(const struct diff_groups *groups, enum output_format format,
        const struct output *output, struct json_writer *json, struct buf *to)
{
	for (uint32_t i = 0; i < groups->shown; i++) {
		const struct diff_group *group = &groups->items[i];
		struct source only = diff_groups_only(groups, group);
		struct diff diff = { .args = groups->diff->args, .source = &only };
		AUTO(names) names = names_new();
		if (names && only.is_canonical)
			names_use_canon(names);
		AUTO(functions) functions = names ? functions_new(names) : NULL;
		int code = functions ? diff_count(&diff, names, functions) : rows_explain(-ENOMEM);
		if (code)
			return code;
		if (format == FORMAT_JSON)
			diff_group_json(groups, group, &diff, json);
		else
			diff_group_put(groups, group, &diff, format == FORMAT_WIDE, output, to);
	}
	return 0;
}

static const char *diff_groups_clusters(const struct diff_groups *groups)
{
	bool is_hashed = groups->cluster && strcmp(groups->cluster, WIRE_BY_BUCKET) == 0;
	return is_hashed ? "hash groups of instances" : "instances";
}

static void diff_groups_put_cut(const struct diff_groups *groups, struct buf *to)
{
	double hidden = 0;
	for (uint32_t i = groups->shown; i < groups->count; i++)
		hidden += groups->items[i].adds;
	if (groups->shown == groups->count)
		buf_printf(
		        to, "all %u group%s shown", groups->shown, groups->shown == 1 ? "" : "s");
	else
		buf_printf(to,
		        "%u of %u groups shown, the others add %+.2f %s; --groups 0 shows all",
		        groups->shown, groups->count, (groups->has_rate ? 1000 : 100) * hidden,
		        groups->has_rate ? "mcores" : "pp");
	buf_printf(to, ", sorted by what they add to the change");
	if (groups->untested)
		buf_printf(to, "\nno significance: %s\n", groups->untested);
	else
		buf_printf(to,
		        "\n%u tested over %s, %u of them by the same before and after, at most "
		        "%.0f %% of those called more or "
		        "less may be chance\n",
		        groups->tested, diff_groups_clusters(groups), groups->paired,
		        100 * SPREAD_FDR);
}

static int diff_groups_put_json(const struct diff_groups *groups, struct buf *to)
{
	struct json_writer json = json_writer_of(to, true);
	struct diff diff = *groups->diff;
	diff.has_rate = groups->has_rate;
	json_object_begin(&json);
	diff_json_head(&diff, &json);
	json_key(&json, "significance");
	json_object_begin(&json);
	json_key_text(&json, "of", diff_groups_clusters(groups));
	json_key_u64(&json, "tested", groups->tested);
	json_key_u64(&json, "paired", groups->paired);
	json_key_double(&json, "false_discovery_rate", SPREAD_FDR);
	json_key_text(&json, "untested", groups->untested ? groups->untested : "");
	json_object_end(&json);
	diff_json_how(&diff, &json);
	json_key(&json, "groups");
	json_array_begin(&json);
	int code = diff_groups_each(groups, FORMAT_JSON, NULL, &json, to);
	json_array_end(&json);
	json_key(&json, "groups_cut");
	json_object_begin(&json);
	json_key_u64(&json, "shown", groups->shown);
	json_key_u64(&json, "of", groups->count);
	json_object_end(&json);
	json_object_end(&json);
	buf_put_u8(to, '\n');
	return code;
}

static void diff_groups_put_csv(const struct diff_groups *groups, struct buf *to)
{
	for (uint32_t i = 0; i < groups->request->by_count; i++) {
		char name[WIRE_TEXT_BYTES_MAX + 1];
		memcpy(name, groups->request->by[i].bytes, groups->request->by[i].count);
		name[groups->request->by[i].count] = '\0';
		text_put_csv(to, name);
		buf_put_u8(to, ',');
	}
	buf_printf(
	        to, "value_a,value_b,unit,coverage_ns_a,coverage_ns_b,change,adds,p,q,verdict\n");
	for (uint32_t i = 0; i < groups->shown; i++)
		diff_group_csv(groups, &groups->items[i], to);
}

static int diff_groups_put_table(
        const struct diff_groups *groups, bool wide, const struct output *output, struct buf *to)
{
	const struct source *source = groups->diff->source;
	report_put_head(source, 0, "A", to);
	report_put_head(source, 1, "B", to);
	report_put_warnings(source, to);
	buf_put_u8(to, '\n');
	diff_groups_put_list(groups, output, to);
	int code = diff_groups_each(groups, wide ? FORMAT_WIDE : FORMAT_TABLE, output, NULL, to);
	buf_put_u8(to, '\n');
	report_put_completeness(source, 0, "A  ", to);
	report_put_completeness(source, 1, "B  ", to);
	diff_groups_put_cut(groups, to);
	return code;
}

int diff_groups_put(const struct diff *diff, const struct source_request *request,
        enum output_format format, const struct output *output, struct buf *to)
{
	__attribute__((cleanup(diff_groups_fini))) struct diff_groups groups = {
		.diff = diff,
		.request = request,
	};
	int code = diff_groups_make(&groups);
	if (code == 0)
		code = diff_groups_spread(&groups);
	if (code)
		return code;
	if (format == FORMAT_JSON)
		return diff_groups_put_json(&groups, to);
	if (format != FORMAT_CSV)
		return diff_groups_put_table(&groups, format == FORMAT_WIDE, output, to);
	diff_groups_put_csv(&groups, to);
	return 0;
}
