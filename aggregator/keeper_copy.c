/*
 * Policies and holds to be evaluated while others may change them: who only asks takes a copy and
 * waits for no change, and a turn takes one and lets administration in, which would otherwise wait
 * as long as the inventory is large.
 */

#include <errno.h>

#include "aggregator/keeper_work.h"

int keeper_copy_holds(const struct keeper *keeper, struct retention_holds **ret_holds)
{
	/* Holds cannot be copied, since a selector cannot: they are read again from their text. */
	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	char error[KEEPER_ERROR_BYTES];
	retention_holds_put_json(keeper->holds, &json);
	if (text.failed)
		return -ENOMEM;
	return retention_holds_parse(
	        "holds", (const char *)text.bytes, text.count, ret_holds, error, sizeof(error));
}

void keeper_copy_fini(struct keeper_copy *copy)
{
	for (uint32_t i = 0; i < copy->sets_count; i++)
		retention_set_free(copy->sets[i]);
	retention_holds_free(copy->holds);
	*copy = (struct keeper_copy){ 0 };
}

static int keeper_copy_words(struct keeper *keeper, struct keeper_copy *ret_copy)
{
	struct keeper_copy copy = { 0 };
	int r = keeper_copy_holds(keeper, &copy.holds);
	for (uint32_t i = 0; i <= keeper->pending_count && r == 0; i++) {
		r = retention_merge(
		        i == 0 ? keeper->set : keeper->pending[i - 1].set, NULL, &copy.sets[i]);
		copy.sets_count += r == 0;
	}
	if (r < 0) {
		keeper_copy_fini(&copy);
		return r;
	}
	copy.confirmed = keeper->confirmed;
	*ret_copy = copy;
	return 0;
}

int keeper_copy_take(struct keeper *keeper, struct keeper_copy *ret_copy)
{
	(void)pthread_mutex_lock(&keeper->words_lock);
	int r = keeper_copy_words(keeper, ret_copy);
	(void)pthread_mutex_unlock(&keeper->words_lock);
	return r;
}

struct plan_options keeper_copy_plan_of(struct keeper *keeper, const struct keeper_copy *copy,
        struct retention_set *const *set, uint64_t horizon_ns)
{
	return (struct plan_options){
		.store = keeper->options.store,
		.sets = (const struct retention_set *const *)set,
		.sets_count = 1,
		.holds = copy->holds,
		.limits = &keeper->options.limits,
		.now_ns = keeper_now(keeper),
		.horizon_ns = horizon_ns,
	};
}

struct plan_options keeper_copy_options(
        struct keeper *keeper, const struct keeper_copy *copy, uint64_t horizon_ns)
{
	struct plan_options options = keeper_copy_plan_of(keeper, copy, copy->sets, horizon_ns);
	options.sets_count = copy->sets_count;
	return options;
}
