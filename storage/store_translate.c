/*
 * A section on its way from its own dict to the newest generation: rows, coverage and losses with
 * the ids that the store has for them, and new entries where it had none yet.
 */

#include <assert.h>
#include <errno.h>

#include "core/fetch.h"
#include "storage/store_private.h"
#include "storage/sum_groups.h"

#define STORE_ROWS_AHEAD     16
#define STORE_STACKS_AT_ONCE 512

struct translation {
	struct store *store;
	const char *tenant;
	struct dict_remap *remap;
	struct sum_labels labels;
};

/*
 * A stack past the cap of its service becomes its deepest known ancestor, which the batch tells of
 * its series.
 */
static int store_translate_capped(struct translation *translation, const struct row *row,
        uint32_t series, struct batch *to, uint32_t *ret_node)
{
	bool is_itself;
	int r = dict_remap_ancestor(translation->remap, row->node, ret_node, &is_itself);
	return r < 0 || is_itself ? r : batch_add_loss(to, series, LOSS_FOLDED, row->value);
}

/*
 * The first of the rows, whose stack the session did not bring before, and with it others of its
 * series of which that is so: as many as are within the cap of the service even if all are new.
 */
static int store_translate_stacks(struct translation *translation, const struct row *rows,
        uint32_t count, uint32_t *new_stacks)
{
	const struct store *store = translation->store;
	uint32_t stacks[STORE_STACKS_AT_ONCE];
	uint32_t stacks_max = store->options.service_stacks_max - *new_stacks;
	uint32_t stacks_count = 0;
	uint32_t known_count;
	int r = dict_remap_seek(translation->remap);
	if (r < 0)
		return r;
	const uint32_t *known = dict_remap_known_nodes(translation->remap, &known_count);
	if (stacks_max > STORE_STACKS_AT_ONCE)
		stacks_max = STORE_STACKS_AT_ONCE;
	for (uint32_t i = 0; i < count && rows[i].series == rows->series; i++) {
		uint32_t node = rows[i].node;
		if (i + STORE_ROWS_AHEAD < count && rows[i + STORE_ROWS_AHEAD].node < known_count)
			fetch(&known[rows[i + STORE_ROWS_AHEAD].node]);
		if (node < known_count && known[node] != ID_NONE)
			continue;
		stacks[stacks_count++] = node;
		if (stacks_count == stacks_max)
			break;
	}
	uint32_t next_new = dict_mark(store->newest->dict).nodes;
	r = dict_remap_nodes(translation->remap, stacks, stacks_count);
	known = dict_remap_known_nodes(translation->remap, &known_count);
	for (uint32_t i = 0; i < stacks_count && r == 0; i++) {
		uint32_t node = known[stacks[i]];
		/* One that is behind all nodes that there were is the last that it brought. */
		if (node < next_new)
			continue;
		next_new = node + 1;
		++*new_stacks;
	}
	return r;
}

/* The node of the first of the rows, which the session did not bring before. */
static int store_translate_node(struct translation *translation, const struct row *rows,
        uint32_t count, uint32_t series, uint32_t *new_stacks, struct batch *to, uint32_t *ret_node)
{
	assert(new_stacks);
	if (*new_stacks >= translation->store->options.service_stacks_max)
		return store_translate_capped(translation, rows, series, to, ret_node);
	int r = store_translate_stacks(translation, rows, count, new_stacks);
	return r < 0 ? r : dict_remap_node(translation->remap, rows->node, ret_node);
}

/* The series in the store's dict, and the count of new stacks of its service. */
static int store_translate_series(struct translation *translation, uint32_t from,
        uint32_t *ret_series, uint32_t **ret_new_stacks)
{
	struct store *store = translation->store;
	const struct dict *dict = store->newest->dict;
	int r = dict_remap_series(translation->remap, from, ret_series);
	if (r < 0)
		return r;
	if (translation->labels.service == ID_NONE)
		translation->labels = sum_labels_find(dict);
	return service_stacks_get(store->services,
	        clock_unix_ns(store->clock) / store->options.window_ns, store->newest->id,
	        translation->tenant, sum_labels_service(&translation->labels, dict, *ret_series),
	        ret_new_stacks);
}

/*
 * Nearly every node was met before, and where it lies in the session's column is anywhere: the ones
 * to come are fetched meanwhile.
 */
static int store_translate_rows(
        struct translation *translation, const struct batch *from, struct batch *to)
{
	uint32_t series_from = SERIES_NONE;
	uint32_t series = SERIES_NONE;
	uint32_t *new_stacks = NULL;
	uint32_t known_count;
	const uint32_t *known = dict_remap_known_nodes(translation->remap, &known_count);
	int r = batch_reserve_rows(to, from->rows_count);
	for (uint32_t i = 0; i < from->rows_count && r == 0; i++) {
		const struct row *row = &from->rows[i];
		uint32_t ahead = i + STORE_ROWS_AHEAD < from->rows_count
		                         ? row[STORE_ROWS_AHEAD].node
		                         : row->node;
		if (ahead < known_count)
			fetch(&known[ahead]);
		uint32_t node = row->node < known_count ? known[row->node] : ID_NONE;
		if (row->series != series_from) {
			series_from = row->series;
			r = store_translate_series(translation, series_from, &series, &new_stacks);
		}
		if (r == 0 && node == ID_NONE) {
			r = store_translate_node(translation, row, from->rows_count - i, series,
			        new_stacks, to, &node);
			known = dict_remap_known_nodes(translation->remap, &known_count);
		}
		r = r < 0 ? r : batch_add_row(to, series, node, row->value);
	}
	return r;
}

int store_translate(struct store *store, const char *tenant, struct dict_remap *remap,
        const struct batch *from, struct batch *to)
{
	struct translation translation = {
		.store = store,
		.tenant = tenant,
		.remap = remap,
		.labels.service = ID_NONE,
	};
	uint32_t series;
	to->start_ns = from->start_ns;
	to->duration_ns = from->duration_ns;
	int r = store_translate_rows(&translation, from, to);
	for (uint32_t i = 0; i < from->coverage_count && r == 0; i++) {
		r = dict_remap_series(remap, from->coverage[i].series, &series);
		r = r < 0 ? r : batch_add_coverage(to, series, from->coverage[i].ns);
	}
	for (uint32_t i = 0; i < from->losses_count && r == 0; i++) {
		const struct loss *loss = &from->losses[i];
		series = SERIES_NONE;
		if (loss->series != SERIES_NONE)
			r = dict_remap_series(remap, loss->series, &series);
		r = r < 0 ? r : batch_add_loss(to, series, loss->reason, loss->count);
	}
	return r;
}
