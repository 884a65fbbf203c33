/* The bucket is a hash of the instance's name, so that it is the same in every window and store. */

#include "storage/sum_groups.h"

#include <string.h>

#include "core/hash.h"

static uint32_t sum_labels_string(const struct dict *dict, const char *text)
{
	return dict_find_string(dict, text, strlen(text));
}

struct sum_labels sum_labels_find(const struct dict *dict)
{
	return (struct sum_labels){
		.service = sum_labels_string(dict, "service"),
		.instance = sum_labels_string(dict, "instance"),
		.version = sum_labels_string(dict, "version"),
		.region = sum_labels_string(dict, "region"),
		.recorded = sum_labels_string(dict, "recorded"),
		.yes = sum_labels_string(dict, "true"),
	};
}

static uint32_t sum_labels_value(const struct dict *dict, uint32_t series, uint32_t name)
{
	return name == ID_NONE ? 0 : dict_label_value(dict, series, name);
}

uint32_t sum_labels_service(
        const struct sum_labels *labels, const struct dict *dict, uint32_t series)
{
	return sum_labels_value(dict, series, labels->service);
}

uint32_t sum_labels_instance(
        const struct sum_labels *labels, const struct dict *dict, uint32_t series)
{
	return sum_labels_value(dict, series, labels->instance);
}

struct sum_group_key sum_labels_group(
        const struct sum_labels *labels, const struct dict *dict, uint32_t series)
{
	size_t count;
	uint32_t recorded = sum_labels_value(dict, series, labels->recorded);
	const char *instance = dict_get_string(
	        dict, sum_labels_instance(labels, dict, series), &count);
	return (struct sum_group_key){
		.flags = recorded && recorded == labels->yes ? SUM_GROUP_RECORDED : 0,
		.version = sum_labels_value(dict, series, labels->version),
		.region = sum_labels_value(dict, series, labels->region),
		.bucket = (uint32_t)(hash64_bytes(instance, count) % SUM_GROUPS_BUCKETS),
		.period = dict_get_series(dict, series)->period,
	};
}
