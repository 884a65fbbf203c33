/*
 * The template is walked once and what is put in is not looked at again: a function may be called
 * like a placeholder. The tree goes in as columns in preorder, varints, gzip and base64.
 */

#include "query/flame_page.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/gzip.h"
#include "core/json.h"
#include "core/version.h"
#include "query/complain.h"
#include "query/embed/flame_css.h"
#include "query/embed/flame_html.h"
#include "query/embed/flame_js.h"
#include "query/report.h"
#include "query/rows.h"
#include "query/units.h"

#define FLAME_MAGIC      "PFG1"
#define FLAME_GZIP_LEVEL 6

/* Kinds of frames on the page. */
enum flame_kind {
	FLAME_NATIVE = 0,
	FLAME_KERNEL = 1,
	FLAME_GIVEN = 2,
	FLAME_UNKNOWN = 3,
	FLAME_MARK = 4,
};

static enum flame_kind flame_kind_of(const struct names *names, uint32_t name)
{
	uint8_t kind = names_kind(names, name);
	if (kind == FRAME_TRUNCATED)
		return FLAME_MARK;
	if (names_is_unknown(names, name))
		return FLAME_UNKNOWN;
	return kind == FRAME_KERNEL   ? FLAME_KERNEL
	       : kind == FRAME_NATIVE ? FLAME_NATIVE
	                              : FLAME_GIVEN;
}

/* ---- profile bytes ---- */

/* Ids of strings in order of first use; the bytes are encoded at once. */
struct flame_strings {
	struct id_map *map;
	struct buf bytes;
	int error;
};

static uint32_t flame_string(struct flame_strings *strings, const char *text, size_t count)
{
	uint32_t id = 0;
	bool added = false;
	int result = id_map_intern(strings->map, hash128_bytes(text, count), &id, &added);
	if (result < 0)
		strings->error = result;
	if (added)
		buf_put_string(&strings->bytes, text, count);
	return id;
}

/* One frame per name that is drawn, after the root and before the mark of what was cut. */
static void flame_put_frames(const struct flame_page *page, struct flame_strings *strings,
        uint32_t *frame_of_name, struct buf *to)
{
	AUTO_BUF frames = { 0 };
	AUTO_BUF label = { 0 };
	uint32_t count = 0;

	buf_put_varint(&frames, flame_string(strings, "all", 3));
	buf_put_varint(&frames, 0);
	buf_put_varint(&frames, FLAME_MARK);
	count++;
	for (uint32_t id = 1; id < tree_view_count(page->tree); id++) {
		uint32_t name = tree_view_get(page->tree, id)->name;
		if ((page->shown && !page->shown[id]) || frame_of_name[name])
			continue;
		const char *module = names_module(page->names, name);
		buf_reset(&label);
		names_put(page->names, name, &label);
		frame_of_name[name] = count++;
		buf_put_varint(
		        &frames, flame_string(strings, label.count ? (const char *)label.bytes : "",
		                         label.count));
		buf_put_varint(&frames, flame_string(strings, module, strlen(module)));
		buf_put_varint(&frames, flame_kind_of(page->names, name));
		frames.failed = frames.failed || label.failed;
	}
	if (page->shown) {
		static const char cut[] = "[cut by --limit]";
		buf_put_varint(&frames, flame_string(strings, cut, sizeof(cut) - 1));
		buf_put_varint(&frames, 0);
		buf_put_varint(&frames, FLAME_MARK);
		count++;
	}
	buf_put_varint(to, count);
	buf_put(to, frames.bytes, frames.count);
	to->failed = to->failed || frames.failed;
}

/* The columns, filled in one walk. */
struct flame_columns {
	uint32_t count;
	uint32_t depth_before;
	struct buf depth;
	struct buf frame;
	struct buf self[2];
};

static void flame_columns_put(
        struct flame_columns *columns, uint32_t depth, uint32_t frame, const uint64_t self[2])
{
	buf_put_zigzag(&columns->depth, (int64_t)depth - (int64_t)columns->depth_before);
	buf_put_varint(&columns->frame, frame);
	buf_put_varint(&columns->self[0], self[0]);
	buf_put_varint(&columns->self[1], self[1]);
	columns->depth_before = depth;
	columns->count++;
}

static void flame_columns_fini(struct flame_columns *columns)
{
	buf_fini(&columns->depth);
	buf_fini(&columns->frame);
	buf_fini(&columns->self[0]);
	buf_fini(&columns->self[1]);
}

/* The children of a node that are not drawn, as one mark, so that every sum stays what it is. */
static void flame_put_cut(const struct flame_page *page, uint32_t id, uint32_t cut_frame,
        struct flame_columns *columns)
{
	const struct tree_view_node *node = tree_view_get(page->tree, id);
	uint64_t hidden[2] = { node->missing[0], node->missing[1] };
	for (uint32_t child = node->first_child; child != ID_NONE;) {
		const struct tree_view_node *its = tree_view_get(page->tree, child);
		for (int side = 0; side < 2 && page->shown && !page->shown[child]; side++)
			hidden[side] += its->total[side];
		child = its->next_sibling;
	}
	if (hidden[0] || hidden[1])
		flame_columns_put(columns, node->depth + 1, cut_frame, hidden);
}

static void flame_put_nodes(const struct flame_page *page, const uint32_t *frame_of_name,
        uint32_t cut_frame, struct flame_columns *columns)
{
	for (uint32_t id = 0; id != ID_NONE;) {
		const struct tree_view_node *node = tree_view_get(page->tree, id);
		if (id > 0 && page->shown && !page->shown[id]) {
			id = tree_view_skip(page->tree, id);
			continue;
		}
		flame_columns_put(
		        columns, node->depth, id ? frame_of_name[node->name] : 0, node->self);
		if (page->shown || node->missing[0] || node->missing[1])
			flame_put_cut(page, id, cut_frame, columns);
		id = tree_view_next(page->tree, id);
	}
}

int flame_page_profile(const struct flame_page *page, struct buf *to)
{
	struct flame_strings strings = { .map = id_map_new(UINT32_MAX - 1) };
	struct flame_columns columns = { 0 };
	AUTO_BUF frames = { 0 };
	uint32_t *frame_of_name = calloc(
	        (size_t)names_count(page->names) + 1, sizeof(*frame_of_name));
	uint32_t sides = page->source->sides_count;
	int result = strings.map && frame_of_name ? 0 : -ENOMEM;

	if (result == 0) {
		(void)flame_string(&strings, "", 0); /* string 0 */
		flame_put_frames(page, &strings, frame_of_name, &frames);
		/* The last frame is the mark. */
		uint32_t frames_count = 0;
		struct reader reader = reader_of(frames.bytes, frames.failed ? 0 : frames.count);
		frames_count = (uint32_t)reader_varint(&reader);
		flame_put_nodes(page, frame_of_name, frames_count - 1, &columns);

		buf_put(to, FLAME_MAGIC, 4);
		buf_put_varint(to, id_map_count(strings.map));
		buf_put(to, strings.bytes.bytes, strings.bytes.count);
		buf_put(to, frames.bytes, frames.count);
		buf_put_varint(to, sides);
		buf_put_varint(to, columns.count);
		buf_put(to, columns.depth.bytes, columns.depth.count);
		buf_put(to, columns.frame.bytes, columns.frame.count);
		for (uint32_t side = 0; side < sides; side++)
			buf_put(to, columns.self[side].bytes, columns.self[side].count);
		if (strings.error || strings.bytes.failed || frames.failed || to->failed ||
		        columns.depth.failed || columns.frame.failed || columns.self[0].failed ||
		        columns.self[1].failed)
			result = -ENOMEM;
	}
	id_map_free(strings.map);
	buf_fini(&strings.bytes);
	flame_columns_fini(&columns);
	free(frame_of_name);
	return result;
}

/* ---- the page ---- */

static void flame_put_base64(const struct buf *from, struct buf *to)
{
	static const char digits[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t *at = buf_reserve(to, (from->count + 2) / 3 * 4);
	if (!at)
		return;
	for (size_t i = 0; i < from->count; i += 3) {
		uint32_t left = from->count - i < 3 ? (uint32_t)(from->count - i) : 3;
		uint32_t word = (uint32_t)from->bytes[i] << 16;
		word |= left > 1 ? (uint32_t)from->bytes[i + 1] << 8 : 0;
		word |= left > 2 ? from->bytes[i + 2] : 0;
		*at++ = (uint8_t)digits[word >> 18];
		*at++ = (uint8_t)digits[word >> 12 & 63];
		*at++ = left > 1 ? (uint8_t)digits[word >> 6 & 63] : '=';
		*at++ = left > 2 ? (uint8_t)digits[word & 63] : '=';
	}
	to->count += (from->count + 2) / 3 * 4;
}

static void flame_put_title(const struct source *source, struct buf *to)
{
	buf_put(to, source->sides[0].words, strlen(source->sides[0].words));
	if (source->sides_count == 2) {
		buf_printf(to, " against ");
		buf_put(to, source->sides[1].words, strlen(source->sides[1].words));
	}
}

static void flame_put_escaped(const struct buf *from, struct buf *to)
{
	for (size_t i = 0; i < from->count; i++) {
		uint8_t c = from->bytes[i];
		if (strchr("&<>\"'", c) && c)
			buf_printf(to, "&#%u;", c);
		else
			buf_put_u8(to, c < ' ' ? '?' : c);
	}
}

static void flame_json_lines(const struct buf *text, struct json_writer *json)
{
	json_array_begin(json);
	const char *at = (const char *)text->bytes, *end = at + text->count;
	while (!text->failed && at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		json_bytes(json, at, (size_t)(line_end - at));
		at = line_end + 1;
	}
	json_array_end(json);
}

static void flame_json_side(const struct source *source, uint32_t index, struct json_writer *json)
{
	const struct source_side *side = &source->sides[index];
	AUTO_BUF range = { 0 };
	AUTO_BUF lines = { 0 };
	char number[24];

	report_put_range(side, &range);
	report_put_completeness(source, index, "", &lines);
	json_object_begin(json);
	json_key_text(json, "name", source->sides_count < 2 ? "" : index ? "B" : "A");
	json_key_text(json, "selector", side->words);
	json_key(json, "range");
	json_bytes(json, (const char *)range.bytes, range.count);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)side->value);
	json_key_text(json, "total", number);
	json_key_u64(json, "instances", side->completeness.instances);
	if (side->completeness.coverage_ns) {
		snprintf(number, sizeof(number), "%llu",
		        (unsigned long long)side->completeness.coverage_ns);
		json_key_text(json, "coverage_ns", number);
	}
	json_key(json, "lines");
	flame_json_lines(&lines, json);
	json_object_end(json);
}

static void flame_put_meta(const struct flame_page *page, struct buf *to)
{
	const struct source *source = page->source;
	struct json_writer json = json_writer_of(to, false);
	bool diff = source->sides_count == 2;
	AUTO_BUF title = { 0 };
	AUTO_BUF lines = { 0 };

	flame_put_title(source, &title);
	if (page->hidden_count)
		buf_printf(&lines,
		        "%s of %s nodes are drawn, the others are summed up as [cut by --limit]; "
		        "--limit 0 draws all\n",
		        units_count(page->shown_count).text,
		        units_count(page->shown_count + page->hidden_count).text);
	if (diff)
		report_put_warnings(source, &lines);
	json_object_begin(&json);
	json_key_u64(&json, "schema_version", 1);
	json_key(&json, "title");
	json_bytes(&json, (const char *)title.bytes, title.count);
	json_key_text(&json, "kind", diff ? "diff" : "flame");
	json_key_text(&json, "type", source->type);
	json_key_text(&json, "unit", source->unit);
	json_key_u64(&json, "period", source->sides[0].completeness.period_max);
	json_key_text(&json, "watched", report_watched(source));
	json_key_text(&json, "recorded", report_has_recorded(source) ? REPORT_RECORDED : "");
	json_key_text(&json, "verdict", diff ? "no significance: these are point estimates" : "");
	json_key(&json, "lines");
	flame_json_lines(&lines, &json);
	json_key(&json, "sides");
	json_array_begin(&json);
	for (uint32_t side = 0; side < source->sides_count; side++)
		flame_json_side(source, side, &json);
	json_array_end(&json);
	json_key_text(&json, "made_by", "profleet " PROFLEET_VERSION);
	json_object_end(&json);
	to->failed = to->failed || title.failed || lines.failed;
}

static bool flame_is(const char *name, size_t count, const char *word)
{
	return strlen(word) == count && memcmp(name, word, count) == 0;
}

/* False for a placeholder that the template has and we do not know. */
static bool flame_put_placeholder(const struct flame_page *page, const char *name, size_t count,
        const struct buf *profile, struct buf *to)
{
	AUTO_BUF title = { 0 };
	if (flame_is(name, count, "title")) {
		flame_put_title(page->source, &title);
		flame_put_escaped(&title, to);
	} else if (flame_is(name, count, "style-sha256")) {
		buf_put(to, embed_flame_css_sha256, strlen(embed_flame_css_sha256));
	} else if (flame_is(name, count, "script-sha256")) {
		buf_put(to, embed_flame_js_sha256, strlen(embed_flame_js_sha256));
	} else if (flame_is(name, count, "style")) {
		buf_put(to, embed_flame_css, embed_flame_css_bytes);
	} else if (flame_is(name, count, "script")) {
		buf_put(to, embed_flame_js, embed_flame_js_bytes);
	} else if (flame_is(name, count, "meta")) {
		flame_put_meta(page, to);
	} else if (flame_is(name, count, "encoding")) {
		buf_put(to, "gzip", 4);
	} else if (flame_is(name, count, "profile")) {
		flame_put_base64(profile, to);
	} else {
		return false;
	}
	return true;
}

int flame_page_write(const struct flame_page *page, struct buf *to)
{
	static const char open[] = "<!--profleet:", close[] = "-->";
	AUTO_BUF profile = { 0 };
	AUTO_BUF packed = { 0 };
	int result = flame_page_profile(page, &profile);
	if (result == 0)
		result = gzip_pack(profile.bytes, profile.count, FLAME_GZIP_LEVEL, &packed);
	if (result < 0)
		return result;

	const char *at = (const char *)embed_flame_html;
	const char *end = at + embed_flame_html_bytes;
	while (at < end) {
		const char *found = strstr(at, open); /* A zero stands behind the template. */
		const char *name = found ? found + strlen(open) : NULL;
		const char *name_end = name ? strstr(name, close) : NULL;
		if (!name_end) {
			buf_put(to, at, (size_t)(end - at));
			break;
		}
		buf_put(to, at, (size_t)(found - at));
		bool known = flame_put_placeholder(
		        page, name, (size_t)(name_end - name), &packed, to);
		assert(known);
		at = name_end + strlen(close);
	}
	return to->failed ? -ENOMEM : 0;
}

/* ---- delivery ---- */

static int flame_compare_totals(const void *left, const void *right, void *opaque)
{
	const struct tree_view *tree = opaque;
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	const struct tree_view_node *node_a = tree_view_get(tree, a);
	const struct tree_view_node *node_b = tree_view_get(tree, b);
	unsigned __int128 total_a = (unsigned __int128)node_a->total[0] + node_a->total[1];
	unsigned __int128 total_b = (unsigned __int128)node_b->total[0] + node_b->total[1];
	if (total_a != total_b)
		return total_a > total_b ? -1 : 1;
	return (a > b) - (a < b); /* Callers have smaller numbers and come first. */
}

/* The greatest nodes, with each its callers. */
static int flame_mark(const struct tree_view *tree, uint32_t limit, bool **ret_shown)
{
	uint32_t count = tree_view_count(tree);
	autofree uint32_t *order = calloc(count, sizeof(*order));
	autofree bool *shown = calloc(count, sizeof(*shown));
	if (!order || !shown)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	qsort_r(order, count, sizeof(*order), flame_compare_totals, (void *)(uintptr_t)tree);
	for (uint32_t i = 0; i <= limit && i < count; i++)
		shown[order[i]] = true;
	*ret_shown = TAKE(shown);
	return 0;
}

/* profleet-flame-20250301T100000Z.html, with a number where that is taken. */
static void flame_name(const char *verb, char path[128])
{
	time_t now = (time_t)(clock_unix_ns(clock_real()) / NS_PER_S);
	struct tm utc = { 0 };
	char stamp[32] = "";
	if (gmtime_r(&now, &utc))
		(void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
	snprintf(path, 128, "profleet-%s-%s.html", verb, stamp);
	for (int i = 2; i < 1000 && access(path, F_OK) == 0; i++)
		snprintf(path, 128, "profleet-%s-%s-%d.html", verb, stamp, i);
}

static int flame_page_build(const struct source *source, struct names *names,
        struct tree_view *tree, uint32_t limit, struct buf *to)
{
	int result = 0;
	for (uint32_t side = 0; side < source->sides_count && result == 0; side++)
		result = tree_view_add_cut(tree, side, source->sides[side].batch,
		        source->sides[side].parts, source->sides[side].chosen);
	if (result == 0)
		result = tree_view_sort(tree);
	if (result < 0)
		return result;

	autofree bool *shown = NULL;
	uint32_t count = tree_view_count(tree) - 1;
	bool cut = limit && limit < count;
	if (cut)
		result = flame_mark(tree, limit, &shown);
	if (result < 0)
		return result;
	struct flame_page page = {
		.source = source,
		.names = names,
		.tree = tree,
		.shown = shown,
		.shown_count = cut ? limit : count,
		.hidden_count = (cut ? count - limit : 0) + tree_view_missing(tree),
	};
	result = flame_page_write(&page, to);
	if (result == 0 && page.hidden_count)
		remark("%s of %s nodes drawn, the others are summed up where they belong; --limit "
		       "0 "
		       "draws all",
		        units_count(page.shown_count).text,
		        units_count(page.shown_count + page.hidden_count).text);
	return result;
}

int flame_page_deliver(const struct source *source, const struct shared_args *shared,
        const char *out, const char *verb, uint32_t limit)
{
	AUTO(names) names = names_new();
	if (names && source->is_canonical)
		names_use_canon(names);
	AUTO(tree_view) tree = names ? tree_view_new(names) : NULL;
	AUTO_BUF html = { 0 };
	int result = tree ? flame_page_build(source, names, tree, limit, &html) : -ENOMEM;
	if (result < 0)
		return rows_explain(result);

	char path[128];
	if (!out)
		flame_name(verb, path);
	struct output output = output_of(shared, out ? out : path);
	int code = output_deliver_bytes(&output, &html, EXIT_CODE_OK);
	if (code == EXIT_CODE_OK && output.path)
		printf("%s\n", output.path);
	return code;
}
