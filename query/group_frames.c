/*
 * An answer that was grouped has a series for each group, and its stacks are shared by them. Each
 * side gets a dict of its own, where a stack stands once below the frame of every group that has
 * it.
 */

#include "query/group_frames.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "query/complain.h"
#include "query/groups.h"
#include "query/rows.h"

/* Where a stack is below the frame of the series that it was last asked for. */
struct place {
	uint32_t series; /* plus one; 0: of none */
	uint32_t node;
};

struct regrouping {
	const struct source_request *request;
	const struct source_side *from;
	struct answer *to;
	struct dict_remap *remap;
	struct place *places; /* by node of the side's dict */
	struct buf path;      /* u32: nodes on the way to one that has its place */
};

static void regrouping_fini(struct regrouping *regrouping)
{
	dict_remap_free(regrouping->remap);
	answer_free(regrouping->to);
	free(regrouping->places);
	buf_fini(&regrouping->path);
}

/* The frame of a group, at the root. */
static int regrouping_root(struct regrouping *regrouping, uint32_t series, uint32_t *ret_node)
{
	const struct source_request *request = regrouping->request;
	struct source side = { .sides = { *regrouping->from } };
	struct group group = { .series = series };
	struct frame frame = { .kind = FRAME_MANAGED };
	struct dict *dict = regrouping->to->dict;
	AUTO_BUF name = { 0 };
	uint32_t id;
	for (uint32_t i = 0; i < request->by_count; i++) {
		const char *value = groups_label(&side, &group, request->by[i]);
		buf_put(&name, ",", i > 0);
		buf_put(&name, request->by[i].bytes, request->by[i].count);
		buf_put(&name, "=\"", 2);
		buf_put(&name, value, strlen(value));
		buf_put(&name, "\"", 1);
	}
	if (name.failed)
		return -ENOMEM;
	size_t count = name.count < DICT_STRING_BYTES_MAX ? name.count : DICT_STRING_BYTES_MAX;
	int r = dict_string(dict, (const char *)name.bytes, count, &frame.function);
	r = r < 0 ? r : dict_frame(dict, &frame, &id);
	return r < 0 ? r : dict_node(dict, DICT_NODE_ROOT, id, ret_node);
}

static int regrouping_place(
        struct regrouping *regrouping, uint32_t series, uint32_t node, uint32_t *ret_node)
{
	const struct dict *from = regrouping->from->batch->dict;
	struct buf *path = &regrouping->path;
	uint32_t placed = 0;
	int r = 0;
	buf_reset(path);
	while (regrouping->places[node].series != series + 1 && node != DICT_NODE_ROOT) {
		buf_put(path, &node, sizeof(node));
		node = dict_get_node(from, node).parent;
	}
	if (path->failed)
		return -ENOMEM;
	if (regrouping->places[node].series == series + 1)
		placed = regrouping->places[node].node;
	else
		r = regrouping_root(regrouping, series, &placed);
	const uint32_t *nodes = (const uint32_t *)(const void *)path->bytes;
	for (size_t i = path->count / sizeof(*nodes);; i--) {
		if (r < 0)
			return r;
		regrouping->places[node] = (struct place){ series + 1, placed };
		if (i == 0)
			break;
		uint32_t frame;
		node = nodes[i - 1];
		r = dict_remap_frame(regrouping->remap, dict_get_node(from, node).frame, &frame);
		r = r < 0 ? r : dict_node(regrouping->to->dict, placed, frame, &placed);
	}
	*ret_node = placed;
	return 0;
}

static int regrouping_rows(
        struct regrouping *regrouping, const struct batch *from, struct batch *to)
{
	int r = 0;
	for (uint32_t i = 0; i < from->rows_count && r == 0; i++) {
		const struct row *row = &from->rows[i];
		uint32_t node;
		r = regrouping_place(regrouping, row->series, row->node, &node);
		r = r < 0 ? r : batch_add_row(to, row->series, node, row->value);
	}
	for (uint32_t i = 0; i < from->coverage_count && r == 0; i++)
		r = batch_add_coverage(to, from->coverage[i].series, from->coverage[i].ns);
	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	return r < 0 ? r : batch_settle(to);
}

/* Series keep their numbers, which what was chosen goes by. */
static int regrouping_series(struct regrouping *regrouping)
{
	uint32_t count = dict_mark(regrouping->from->batch->dict).series;
	int r = 0;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		uint32_t id = i;
		r = dict_remap_series(regrouping->remap, i, &id);
		if (r == 0 && id != i)
			r = -EINVAL;
	}
	return r;
}

static int regrouping_make(struct regrouping *regrouping)
{
	const struct source_side *from = regrouping->from;
	const struct dict *dict = from->batch->dict;
	regrouping->to = answer_new(1);
	regrouping->places = calloc(
	        dict_mark(dict).nodes + UINT64_C(1), sizeof(*regrouping->places));
	if (!regrouping->to || !regrouping->places)
		return -ENOMEM;
	regrouping->remap = dict_remap_new(dict, regrouping->to->dict);
	if (!regrouping->remap)
		return -ENOMEM;
	struct answer_side *to = &regrouping->to->sides[0];
	int r = regrouping_series(regrouping);
	r = r < 0 ? r : regrouping_rows(regrouping, from->batch, to->batch);
	for (int part = 0; part < ANSWER_PARTS && r == 0; part++) {
		if (!from->parts[part])
			continue;
		r = answer_add_part(regrouping->to, 0, (enum answer_part)part);
		r = r < 0 ? r : regrouping_rows(regrouping, from->parts[part], to->parts[part]);
	}
	return r;
}

static int group_frames_side(const struct source_request *request, const struct source *source,
        uint32_t side, struct answer **ret_answer)
{
	__attribute__((cleanup(regrouping_fini))) struct regrouping regrouping = {
		.request = request,
		.from = &source->sides[side],
	};
	int r = regrouping_make(&regrouping);
	if (r == 0)
		*ret_answer = TAKE(regrouping.to);
	return r;
}

/* Gives each side of a source that was asked for by labels such stacks, also where they were cut.
 */
static int group_frames(const struct source_request *request, struct source *source)
{
	struct answer *answers[SOURCE_SIDES_MAX] = { NULL };
	int r = 0;
	if (request->by_count == 0)
		return 0;
	for (uint32_t i = 0; i < source->sides_count && r == 0; i++)
		r = group_frames_side(request, source, i, &answers[i]);
	for (uint32_t i = 0; i < source->sides_count; i++) {
		struct source_side *side = &source->sides[i];
		if (r < 0) {
			answer_free(answers[i]);
			continue;
		}
		assert(answers[i]);
		/* A side may have borrowed from another's, so all are made before one goes. */
		answer_free(side->answer);
		side->answer = answers[i];
		side->batch = answers[i]->sides[0].batch;
		for (int part = 0; part < ANSWER_PARTS; part++)
			side->parts[part] = answers[i]->sides[0].parts[part];
	}
	return r < 0 ? rows_explain(r) : 0;
}

int group_frames_load(const char *by, const struct range_args *range,
        const struct shared_args *shared, struct source_request *request,
        struct source **ret_source)
{
	AUTO(source) source = NULL;
	int code = groups_request(by, source_is_file(request->words[0]), request);
	if (code == 0)
		code = range_resolve(range, NULL, NULL, &request->from_ns[0], &request->to_ns[0]);
	if (code == 0)
		code = source_load(shared, request, &source);
	if (code == 0)
		code = group_frames(request, source);
	if (code == 0)
		*ret_source = TAKE(source);
	return code;
}
