/* One place for names that readers of every verb's JSON rely on. */

#include "profile/answer_json.h"

void answer_json_unreadable(const struct completeness *completeness, struct json_writer *json)
{
	json_key_u64(json, "batches_corrupt", completeness->corrupt);
	json_key_u64(json, "batches_corrupt_replaced", completeness->corrupt_replaced);
	json_key(json, "unreadable");
	json_array_begin(json);
	for (uint32_t i = 0; i < completeness->unreadable_count; i++) {
		const struct unreadable *one = &completeness->unreadable[i];
		json_object_begin(json);
		json_key_u64(json, "from_ns", one->from_ns);
		json_key_u64(json, "to_ns", one->to_ns);
		json_key_text(json, "service", one->service);
		json_key_text(json, "type", one->type);
		json_key_text(json, "what", one->what);
		json_object_end(json);
	}
	json_array_end(json);
}

void answer_json_edges(const struct completeness *completeness, struct json_writer *json)
{
	json_key_u64(json, "cut_begin_ns", completeness->cut_begin_ns);
	json_key_u64(json, "cut_end_ns", completeness->cut_end_ns);
}

void answer_json_collapsed(const struct completeness *completeness, struct json_writer *json)
{
	json_key_u64(json, "windows_collapsed", completeness->windows_collapsed);
	json_key_u64(json, "collapsed_from_ns", completeness->collapsed_from_ns);
	json_key_u64(json, "collapsed_to_ns", completeness->collapsed_to_ns);
}
