/* Reads the object back into a struct completeness, so that there is one place with the words. */

#include "query/json_missing.h"

#include <stdio.h>
#include <string.h>

#include "core/auto.h"
#include "query/complain.h"
#include "query/report.h"

static void json_missing_take(const json_t *root, struct completeness *ret_all)
{
	size_t i;
	json_t *one;
	const json_t *from = json_object_get(root, "completeness");
	struct completeness all = {
		.corrupt = json_reply_u64(from, "batches_corrupt"),
		.corrupt_replaced = json_reply_u64(from, "batches_corrupt_replaced"),
		.cut_begin_ns = json_reply_u64(from, "cut_begin_ns"),
		.cut_end_ns = json_reply_u64(from, "cut_end_ns"),
		.windows_collapsed = json_reply_u64(from, "windows_collapsed"),
		.collapsed_from_ns = json_reply_u64(from, "collapsed_from_ns"),
		.collapsed_to_ns = json_reply_u64(from, "collapsed_to_ns"),
	};
	json_array_foreach(json_object_get(from, "unreadable"), i, one)
	{
		if (all.unreadable_count == ANSWER_UNREADABLE_MAX)
			break;
		struct unreadable *to = &all.unreadable[all.unreadable_count++];
		to->from_ns = json_reply_u64(one, "from_ns");
		to->to_ns = json_reply_u64(one, "to_ns");
		snprintf(to->service, sizeof(to->service), "%s", json_reply_text(one, "service"));
		snprintf(to->type, sizeof(to->type), "%s", json_reply_text(one, "type"));
		snprintf(to->what, sizeof(to->what), "%s", json_reply_text(one, "what"));
	}
	*ret_all = all;
}

static void json_missing_put(const json_t *root, struct buf *to)
{
	struct completeness all;
	json_missing_take(root, &all);
	report_put_missing(&all, to);
}

void json_missing_put_below(const json_t *root, struct buf *to)
{
	AUTO_BUF text = { 0 };
	json_missing_put(root, &text);
	if (text.failed)
		to->failed = true;
	else if (text.count) {
		buf_put_u8(to, '\n');
		buf_put(to, text.bytes, text.count);
	}
}

void json_missing_remark(const json_t *root)
{
	AUTO_BUF text = { 0 };
	json_missing_put(root, &text);
	for (size_t at = 0; !text.failed && at < text.count;) {
		const char *line = (const char *)text.bytes + at;
		const char *end = memchr(line, '\n', text.count - at);
		size_t count = (size_t)(end - line); /* every line has one */
		remark("%.*s", (int)count, line);
		at += count + 1;
	}
}

int json_missing_explain(const json_t *root, const char *selector)
{
	struct completeness all;
	json_missing_take(root, &all);
	return source_explain(selector, &all);
}

int json_missing_nothing(const json_t *root, const char *selector)
{
	struct completeness all;
	json_missing_take(root, &all);
	return source_nothing(selector, &all);
}
