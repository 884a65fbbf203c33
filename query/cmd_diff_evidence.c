/*
 * Which functions of a diff changed more than chance, and whether all of it did: asked of the
 * aggregator in a second question, for each function and instance how much there was. Where there
 * are many instances, or old sums no longer tell them apart, the hash groups that sums keep stand
 * for them.
 *
 * A diff without it is a diff all the same: where the second question fails, that is said.
 */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/naming.h"
#include "query/cmd_diff_private.h"
#include "query/complain.h"
#include "query/groups.h"
#include "query/report.h"
#include "query/units.h"

/* More instances than this of a side are asked for by hash groups: these say nearly as much. */
#define EVIDENCE_INSTANCES_MAX 64

static const char evidence_instance[] = "instance";
static const char evidence_untold[] = "not all of it tells instances apart any more";

/* Rows of a series lie together; of one side and one kind. */
struct evidence_rows {
	const struct batch *batch;
	uint32_t at;
};

struct evidence_work {
	struct diff_evidence *evidence;
	const struct source *source; /* of the second question */
	const uint32_t *name_of_frame;
	uint32_t series;
	double (*wholes)[2]; /* by series */
	double (*watched)[2];
	/* Of the series that is being added, by name; those that it has anything of. */
	double (*x)[2];
	double (*flat)[2];
	bool *is_met;
	uint32_t *met;
	uint32_t met_count;
};

static void evidence_work_fini(struct evidence_work *work)
{
	free((void *)work->name_of_frame);
	free(work->wholes);
	free(work->watched);
	free(work->x);
	free(work->flat);
	free(work->is_met);
	free(work->met);
}

static const struct batch *evidence_batch(const struct evidence_work *work, int side, bool is_x)
{
	const struct source_side *from = &work->source->sides[side];
	return is_x && work->evidence->by_cum ? from->parts[ANSWER_CUM] : from->batch;
}

/* Rows of one series, of a function each. */
static void evidence_take_rows(struct evidence_work *work, struct evidence_rows *rows,
        uint32_t series, int side, bool is_x)
{
	const struct batch *batch = rows->batch;
	for (; rows->at < batch->rows_count && batch->rows[rows->at].series == series; rows->at++) {
		const struct row *row = &batch->rows[rows->at];
		if (row->node == DICT_NODE_ROOT)
			continue; /* stacks without a frame: of the whole, and of no function */
		uint32_t name = work->name_of_frame[dict_get_node(batch->dict, row->node).frame];
		if (!work->is_met[name])
			work->met[work->met_count++] = name;
		work->is_met[name] = true;
		(is_x ? work->x : work->flat)[name][side] += (double)row->value;
	}
}

static void evidence_add_series(struct evidence_work *work, uint32_t series)
{
	const double *whole = work->wholes[series];
	bool takes = spread_many_takes(&work->evidence->many, whole);
	for (uint32_t i = 0; i < work->met_count; i++) {
		uint32_t name = work->met[i];
		if (takes)
			spread_many_add(&work->evidence->many, name, work->x[name],
			        work->flat[name], whole);
		work->is_met[name] = false;
		memset(work->x[name], 0, sizeof(work->x[name]));
		memset(work->flat[name], 0, sizeof(work->flat[name]));
	}
	work->met_count = 0;
}

static void evidence_add_all(struct evidence_work *work)
{
	struct evidence_rows rows[2][2] = { 0 };
	for (int side = 0; side < 2; side++)
		for (int is_x = 0; is_x < 2; is_x++)
			rows[side][is_x].batch = evidence_batch(work, side, is_x);
	for (uint32_t series = 0; series < work->series; series++) {
		for (int side = 0; side < 2; side++)
			for (int is_x = 0; is_x < 2; is_x++)
				evidence_take_rows(work, &rows[side][is_x], series, side, is_x);
		evidence_add_series(work, series);
	}
}

/* Of every series what it has in all, and how long it was watched. */
static void evidence_take_wholes(struct evidence_work *work)
{
	for (int side = 0; side < 2; side++) {
		const struct batch *batch = work->source->sides[side].batch;
		for (uint32_t i = 0; i < batch->rows_count; i++)
			work->wholes[batch->rows[i].series][side] += (double)batch->rows[i].value;
		for (uint32_t i = 0; i < batch->coverage_count; i++)
			work->watched[batch->coverage[i].series][side] +=
			        (double)batch->coverage[i].ns;
	}
}

/* Did all of it change, by time watched? */
static void evidence_test_whole(struct evidence_work *work)
{
	struct diff_evidence *evidence = work->evidence;
	struct spread_sums sums[2] = { 0 };
	struct spread_pairs pairs = { 0 };
	for (uint32_t i = 0; i < work->series; i++) {
		const double *x = work->wholes[i], *n = work->watched[i];
		for (int side = 0; side < 2; side++) {
			pairs.n[side] += n[side];
			if (n[side] > 0)
				spread_add(&sums[side], x[side], n[side]);
		}
		if (n[0] > 0 && n[1] > 0)
			spread_add_pair(&pairs, x, n);
	}
	evidence->whole = spread_is_paired(&pairs)
	                          ? spread_compare_pairs(&pairs, evidence->period, false)
	                          : spread_compare(sums, evidence->period, false);
	spread_correct(&evidence->whole, 1);
}

static int evidence_work_init(struct evidence_work *work, struct names *names)
{
	const struct dict *dict = work->source->sides[0].batch->dict;
	uint32_t *name_of_frame = NULL;
	int r = names_of_readable(names, dict, &name_of_frame);
	if (r < 0)
		return r;
	work->name_of_frame = name_of_frame;
	work->series = dict_mark(dict).series;
	size_t series = work->series + UINT64_C(1), count = names_count(names) + UINT64_C(1);
	work->wholes = calloc(series, sizeof(*work->wholes));
	work->watched = calloc(series, sizeof(*work->watched));
	work->x = calloc(count, sizeof(*work->x));
	work->flat = calloc(count, sizeof(*work->flat));
	work->is_met = calloc(count, sizeof(*work->is_met));
	work->met = calloc(count, sizeof(*work->met));
	if (!work->wholes || !work->watched || !work->x || !work->flat || !work->is_met ||
	        !work->met)
		return -ENOMEM;
	return spread_many_init(&work->evidence->many, names_count(names), work->evidence->period);
}

/* Is there a series that is of no instance? Hash groups have such as well, and do not tell. */
static bool evidence_has_nameless(const struct source *source, const char *cluster)
{
	const struct dict *dict = source->sides[0].batch->dict;
	uint32_t id = dict_find_string(dict, cluster, strlen(cluster));
	for (uint32_t i = 0; i < dict_mark(dict).series; i++)
		if (id == ID_NONE || !*dict_text(dict, dict_label_value(dict, i, id)))
			return true;
	return false;
}

/* More may have come meanwhile, and a little is no matter: what was asked last is what is tested.
 */
static bool evidence_has_all(const struct source *source, const struct source *before)
{
	for (int side = 0; side < 2; side++)
		if ((double)source->sides[side].value < 0.98 * (double)before->sides[side].value ||
		        source->sides[side].completeness.windows_unanswerable >
		                before->sides[side].completeness.windows_unanswerable)
			return false;
	return true;
}

static int evidence_ask(const struct diff *diff, const struct source_request *request,
        struct diff_evidence *evidence, const char *cluster, struct source **ret_source)
{
	struct source_request second = *request;
	AUTO(source) source = NULL;
	second.type = *diff->source->type ? diff->source->type : NULL;
	second.question = WIRE_ASK_FUNCTIONS;
	second.group = WIRE_GROUP_LABELS;
	second.by[0] = (struct wire_text){ cluster, (uint32_t)strlen(cluster) };
	second.by_count = 1;
	second.nodes_max = 0; /* the search is among all, whatever is shown */
	evidence->cluster = cluster;
	evidence->untested = NULL;
	complain_hold(evidence->failed, sizeof(evidence->failed));
	int code = source_load(&diff->args->shared, &second, &source);
	complain_release();
	if (code)
		evidence->untested = evidence->failed;
	else if (!evidence_has_all(source, diff->source))
		evidence->untested = evidence_untold;
	else if (evidence_has_nameless(source, cluster))
		evidence->untested = "series without the label instance";
	else
		*ret_source = TAKE(source);
	return 0;
}

/* Instances where these are few and rows are left, else what sums keep of them. */
static bool evidence_is_of_instances(const struct source *source)
{
	for (int side = 0; side < 2; side++) {
		const struct source_side *of = &source->sides[side];
		if (of->to_ns - of->from_ns > DIFF_INSTANCES_NS ||
		        of->completeness.instances > EVIDENCE_INSTANCES_MAX)
			return false;
	}
	return true;
}

int diff_evidence_take(const struct diff *diff, const struct source_request *request,
        struct names *names, struct diff_evidence *evidence)
{
	AUTO(source) source = NULL;
	evidence->by_cum = diff->args->sort == 1;
	evidence->period = diff_period(diff->source);
	for (int side = 0; side < 2; side++)
		if (diff->source->sides[side].is_file) {
			evidence->untested = "a file is one profile, and does not tell what "
			                     "differs from run to run";
			return 0;
		}
	bool is_of_instances = evidence_is_of_instances(diff->source);
	if (is_of_instances)
		(void)evidence_ask(diff, request, evidence, evidence_instance, &source);
	if (!source && (!is_of_instances || evidence->untested == evidence_untold))
		(void)evidence_ask(diff, request, evidence, WIRE_BY_BUCKET, &source);
	if (!source)
		return 0;

	__attribute__((cleanup(evidence_work_fini))) struct evidence_work work = {
		.evidence = evidence,
		.source = source,
	};
	int r = evidence_work_init(&work, names);
	if (r < 0)
		return r;
	evidence_take_wholes(&work);
	spread_many_add_wholes(&evidence->many, work.wholes, work.series);
	evidence_add_all(&work);
	r = spread_many_run(&evidence->many);
	evidence->untested = evidence->many.untested;
	evidence->has_whole = r == 0 && diff->has_rate && !evidence->untested;
	if (evidence->has_whole)
		evidence_test_whole(&work);
	return r;
}

void diff_evidence_fini(struct diff_evidence *evidence)
{
	spread_many_fini(&evidence->many);
}

/* ---- in words ---- */

const char *diff_verdict(const struct spread_test *test)
{
	if (test->untested)
		return "untested";
	if (test->q < SPREAD_FDR)
		return test->effect > 0 ? "more" : "less";
	return expm1(test->smallest) < DIFF_EFFECT_MIN ? "unchanged" : "unknown";
}

const struct spread_test *diff_evidence_of(const struct diff_evidence *evidence, uint32_t name)
{
	static const struct spread_test nothing = { .untested = "" };
	static const struct spread_test rare = { .untested = "too few samples" };
	if (!evidence || evidence->untested)
		return &nothing;
	return name < evidence->many.count ? &evidence->many.functions[name].test : &rare;
}

static const char *diff_evidence_clusters(const struct diff_evidence *evidence)
{
	bool is_hashed = evidence->cluster && strcmp(evidence->cluster, WIRE_BY_BUCKET) == 0;
	return is_hashed ? "hash groups of instances" : "instances";
}

/* How many are called more, and less. */
static void evidence_count(const struct diff_evidence *evidence, uint32_t ret_found[2])
{
	for (uint32_t i = 0; i < evidence->many.count; i++) {
		const struct spread_test *test = &evidence->many.functions[i].test;
		if (!test->untested && test->q < SPREAD_FDR)
			ret_found[test->effect > 0 ? 0 : 1]++;
	}
}

void diff_evidence_put_whole(const struct diff_evidence *evidence, struct buf *to)
{
	const struct spread_test *test = &evidence->whole;
	if (evidence->untested)
		buf_printf(to, "no significance: %s\n", evidence->untested);
	else if (!evidence->has_whole || test->untested)
		buf_printf(to, "functions are tested, each by its share\n");
	else if (test->p < SPREAD_FDR)
		buf_printf(to, "that is more than chance (p %.2g)\n", test->p);
	else
		buf_printf(to, "that may be chance (p %.2g; %s would have shown)\n", test->p,
		        units_change(exp(test->smallest)).text);
}

void diff_evidence_put(const struct diff_evidence *evidence, struct buf *to)
{
	const struct spread_many *many = &evidence->many;
	uint32_t found[2] = { 0, 0 };
	if (evidence->untested)
		return;
	evidence_count(evidence, found);
	buf_printf(to, "%s functions tested over ", units_count(many->tested).text);
	if (many->is_paired)
		buf_printf(to, "%s %s, the same before and after",
		        units_count(many->instances[0]).text, diff_evidence_clusters(evidence));
	else
		buf_printf(to, "%s and %s %s", units_count(many->instances[0]).text,
		        units_count(many->instances[1]).text, diff_evidence_clusters(evidence));
	buf_printf(to, ": %u more, %u less, of which at most %.0f %% may be chance\n", found[0],
	        found[1], 100 * SPREAD_FDR);
	if (fabs(many->shift) > 0.005)
		buf_printf(to,
		        "shares of what did not change moved by %s all together, which is taken "
		        "out "
		        "of the evidence\n",
		        units_change(exp(many->shift)).text);
	if (many->unchanged <= 0.2 || fabs(many->shift) > log(1.5))
		buf_printf(to, "warning: most of the profile changed: shares say little, compare "
		               "mcores\n");
}

void diff_json_test(const struct spread_test *test, struct json_writer *json)
{
	json_key(json, "significance");
	if (test->untested) {
		json_write_null(json);
	} else {
		json_object_begin(json);
		json_key_double(json, "p", test->p);
		json_key_double(json, "q", test->q);
		json_key_double(json, "degrees", test->degrees);
		json_key_double(json, "change_low", expm1(test->effect - test->effect_error));
		json_key_double(json, "change_high", expm1(test->effect + test->effect_error));
		json_key_double(json, "smallest_change", expm1(test->smallest));
		json_object_end(json);
	}
	json_key_text(json, "untested", test->untested ? test->untested : "");
}

void diff_evidence_json(const struct diff_evidence *evidence, struct json_writer *json)
{
	const struct spread_many *many = &evidence->many;
	uint32_t found[2] = { 0, 0 };
	evidence_count(evidence, found);
	json_key(json, "significance");
	json_object_begin(json);
	json_key_text(json, "of", diff_evidence_clusters(evidence));
	json_key_u64(json, "tested", evidence->untested ? 0 : many->tested);
	json_key_u64(json, "paired", evidence->untested || !many->is_paired ? 0 : many->tested);
	json_key_double(json, "false_discovery_rate", SPREAD_FDR);
	json_key_text(json, "untested", evidence->untested ? evidence->untested : "");
	if (!evidence->untested) {
		json_key_u64(json, "instances_a", many->instances[0]);
		json_key_u64(json, "instances_b", many->instances[1]);
		json_key_u64(json, "more", found[0]);
		json_key_u64(json, "less", found[1]);
		json_key_double(json, "shift", expm1(many->shift));
		json_key_double(json, "unchanged_share", many->unchanged);
		if (evidence->has_whole) {
			json_key(json, "whole");
			json_object_begin(json);
			json_key_text(json, "verdict", diff_verdict(&evidence->whole));
			diff_json_test(&evidence->whole, json);
			json_object_end(json);
		}
	}
	json_object_end(json);
}
