/* A group is a series of the answer: the aggregator made one for each set of values. */

#include "query/groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "query/complain.h"
#include "query/text.h"
#include "query/units.h"

int groups_request(const char *words, bool is_file, struct source_request *request)
{
	if (!words)
		return 0;
	if (is_file)
		return complain(
		        EXIT_CODE_USAGE, "--by: a file has no labels to group by; import it first");
	for (const char *at = words; *at;) {
		size_t count = strcspn(at, ",");
		if (count == 0 || request->by_count == WIRE_BY_MAX)
			return complain(EXIT_CODE_USAGE,
			        "--by %s: one to %d names of labels, such as region,version", words,
			        WIRE_BY_MAX);
		request->by[request->by_count++] = (struct wire_text){ at, (uint32_t)count };
		at += count + (at[count] == ',' && at[count + 1] != '\0');
		if (at[0] == ',')
			return complain(EXIT_CODE_USAGE, "--by %s: a name is missing", words);
	}
	if (request->by_count == 0)
		return complain(EXIT_CODE_USAGE, "--by: name a label, such as region");
	request->group = WIRE_GROUP_LABELS;
	return 0;
}

static int groups_compare(const void *left, const void *right)
{
	const struct group *a = left, *b = right;
	if (a->value != b->value)
		return a->value > b->value ? -1 : 1;
	return (a->series > b->series) - (a->series < b->series);
}

/* What source_load() has added up fits. */
static void groups_add(struct groups *groups, const struct batch *batch)
{
	for (uint32_t i = 0; batch && i < batch->rows_count; i++)
		groups->items[batch->rows[i].series].value += batch->rows[i].value;
}

int groups_make(const struct source *source, struct groups *ret_groups)
{
	const struct source_side *side = &source->sides[0];
	uint32_t count = dict_mark(side->batch->dict).series;
	AUTO_GROUPS groups = { 0 };
	groups.items = calloc(count + UINT64_C(1), sizeof(*groups.items));
	groups.chosen = calloc(count + UINT64_C(1), sizeof(*groups.chosen));
	if (!groups.items || !groups.chosen)
		return complain(EXIT_CODE_FAILED, "out of memory");
	for (uint32_t i = 0; i < count; i++)
		groups.items[i].series = i;
	groups_add(&groups, side->batch);
	groups_add(&groups, side->parts[ANSWER_CUT]);
	for (uint32_t i = 0; i < side->batch->coverage_count; i++)
		groups.items[side->batch->coverage[i].series].coverage_ns +=
		        side->batch->coverage[i].ns;
	for (uint32_t i = 0; i < count; i++)
		if (groups.items[i].value && (!side->chosen || side->chosen[i]))
			groups.items[groups.count++] = groups.items[i];
	if (groups.count > 1)
		qsort(groups.items, groups.count, sizeof(*groups.items), groups_compare);
	*ret_groups = groups;
	groups = (struct groups){ 0 };
	return 0;
}

void groups_fini(struct groups *groups)
{
	free(groups->items);
	free(groups->chosen);
}

struct source groups_only(const struct source *source, struct groups *groups, uint32_t index)
{
	struct source only = *source;
	for (uint32_t i = 0; i < groups->count; i++)
		groups->chosen[groups->items[i].series] = i == index;
	only.sides[0].chosen = groups->chosen;
	only.sides[0].value = groups->items[index].value;
	return only;
}

const char *groups_label(
        const struct source *source, const struct group *group, struct wire_text name)
{
	const struct dict *dict = source->sides[0].batch->dict;
	uint32_t id = dict_find_string(dict, name.bytes, name.count);
	return id == ID_NONE ? "" : dict_text(dict, dict_label_value(dict, group->series, id));
}

void groups_put_name(const struct source_request *request, const struct source *source,
        const struct group *group, struct buf *to)
{
	for (uint32_t i = 0; i < request->by_count; i++) {
		char name[WIRE_TEXT_BYTES_MAX + 1];
		memcpy(name, request->by[i].bytes, request->by[i].count);
		name[request->by[i].count] = '\0';
		buf_printf(to, "%s", i ? "," : "");
		text_put_safe(to, name);
		buf_printf(to, "=\"");
		text_put_safe(to, groups_label(source, group, request->by[i]));
		buf_printf(to, "\"");
	}
}

void groups_put_cut(const struct groups *groups, uint32_t shown, uint64_t value_hidden,
        const struct source *source, struct buf *to)
{
	if (shown == groups->count)
		buf_printf(to, "all %u group%s shown\n", shown, shown == 1 ? "" : "s");
	else
		buf_printf(to,
		        "%u of %u groups shown, %s of the value not shown; --groups 0 shows all\n",
		        shown, groups->count,
		        units_percent(value_hidden, source->sides[0].value).text);
}

void groups_json_labels(const struct source_request *request, const struct source *source,
        const struct group *group, struct json_writer *json)
{
	json_object_begin(json);
	for (uint32_t i = 0; i < request->by_count; i++) {
		char name[WIRE_TEXT_BYTES_MAX + 1];
		memcpy(name, request->by[i].bytes, request->by[i].count);
		name[request->by[i].count] = '\0';
		json_key_text(json, name, groups_label(source, group, request->by[i]));
	}
	json_object_end(json);
}
