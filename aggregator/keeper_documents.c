/*
 * What a keeper writes down (docs/formats/audit.md): documents are written with every change and
 * read once, at the start.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "aggregator/json_body.h"
#include "aggregator/keeper_work.h"

#define KEEPER_BOOT_PATH "/proc/sys/kernel/random/boot_id"

void keeper_put_pending(const struct keeper_pending *pending, uint32_t count, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key(&json, "pending");
	json_array_begin(&json);
	for (uint32_t i = 0; i < count; i++) {
		AUTO_BUF set = { 0 };
		struct json_writer inner = json_writer_of(&set, false);
		retention_put_json(pending[i].set, &inner);
		json_object_begin(&json);
		json_key_u64(&json, "until_ns", pending[i].until_ns);
		json_key(&json, "set");
		json_bytes(&json, (const char *)set.bytes, set.count);
		json_object_end(&json);
		to->failed |= set.failed;
	}
	json_array_end(&json);
	json_object_end(&json);
}

static void keeper_put_state(struct keeper *keeper, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_u64(&json, "last_success_ns", keeper->last_success_ns);
	json_key_text(&json, "last_error", keeper->last_error);
	json_key_text(&json, "stop", keeper->stop);
	json_key_u64(&json, "stop_since_ns", keeper->stop_since_ns);
	json_key_bool(&json, "stop_stays", keeper->stop_stays);
	json_key_u64(&json, "paused_until_ns", keeper->paused_until_ns);
	json_key_u64(&json, "last_id", keeper->last_id);
	if (keeper->confirmed.windows > 0) {
		json_key_u64(&json, "confirmed_windows", keeper->confirmed.windows);
		json_key_u64(&json, "confirmed_bytes", keeper->confirmed.bytes);
	}
	json_key(&json, "deleted");
	json_object_begin(&json);
	(void)pthread_mutex_lock(&keeper->state_lock);
	for (uint32_t i = 0; i < keeper->deleted_count; i++)
		json_key_u64(&json, keeper->deleted[i].policy, keeper->deleted[i].bytes);
	(void)pthread_mutex_unlock(&keeper->state_lock);
	json_object_end(&json);
	json_object_end(&json);
}

static void keeper_put_clock(const struct keeper *keeper, struct buf *to)
{
	struct json_writer json = json_writer_of(to, false);
	json_object_begin(&json);
	json_key_u64(&json, "unix_ns", keeper->clock_unix_ns);
	json_key_u64(&json, "monotonic_ns", keeper->clock_mono_ns);
	json_key_text(&json, "boot", keeper->boot);
	json_object_end(&json);
}

int keeper_write(struct keeper *keeper, const struct audit_document *documents, uint32_t count,
        const struct keeper_actor *by, const char *action, uint64_t bytes, const char *details)
{
	struct audit_document all[AUDIT_DOCUMENTS_MAX];
	struct audit_entry entry = { 0 };
	AUTO_BUF state = { 0 };
	AUTO_BUF clock = { 0 };
	if (count > AUDIT_DOCUMENTS_MAX - 2)
		return -EINVAL;
	keeper_put_state(keeper, &state);
	keeper_put_clock(keeper, &clock);
	if (state.failed || clock.failed)
		return -ENOMEM;
	all[0] = (struct audit_document){ "state", state.bytes, state.count };
	all[1] = (struct audit_document){ "clock", clock.bytes, clock.count };
	for (uint32_t i = 0; i < count; i++)
		all[2 + i] = documents[i];
	if (by)
		entry = (struct audit_entry){ .actor = by->actor,
			.origin = by->origin,
			.request = by->request,
			.action = action,
			.bytes = bytes,
			.details = details };
	return store_administer(keeper->options.store, all, 2 + count, by ? &entry : NULL, NULL);
}

/* A document into `text` with a zero behind it; count 0 when there is none. */
static int keeper_read(struct keeper *keeper, const char *name, struct buf *text)
{
	int r = store_document_get(keeper->options.store, name, text);
	if (r == -ENOENT)
		r = 0;
	else if (r == 0)
		buf_put_u8(text, 0);
	return r == 0 && text->failed ? -ENOMEM : r;
}

/* Text without the zero that keeper_read() put behind it. */
static size_t keeper_text_count(const struct buf *text)
{
	return text->count > 0 ? text->count - 1 : 0;
}

/* A document as what it holds. When there is none, 0 and *ret_config as it was. */
static int keeper_read_parsed(struct keeper *keeper, const char *name, struct config **ret_config,
        char *ret_error, size_t error_bytes)
{
	AUTO_BUF text = { 0 };
	int r = keeper_read(keeper, name, &text);
	if (r < 0 || text.count == 0)
		return r;
	return config_parse(name, (const char *)text.bytes, keeper_text_count(&text), ret_config,
	        ret_error, error_bytes);
}

static int keeper_load_pending(struct keeper *keeper, char *ret_error, size_t error_bytes)
{
	AUTO(config) config = NULL;
	int r = keeper_read_parsed(keeper, "pending", &config, ret_error, error_bytes);
	if (r < 0 || !config)
		return r;
	const struct config_node *list = json_body_find(config_root(config), "pending");
	for (uint32_t i = 0; i < json_body_count(list) && i < KEEPER_PENDING_MAX; i++) {
		const struct config_node *node = config_node_item(list, i);
		const char *set = json_body_text(node, "set");
		struct keeper_pending *pending = &keeper->pending[keeper->pending_count];
		r = retention_parse(
		        "pending", set, strlen(set), &pending->set, ret_error, error_bytes);
		if (r < 0)
			return r;
		pending->until_ns = json_body_u64(node, "until_ns", 0);
		keeper->pending_count++;
	}
	return 0;
}

static int keeper_load_state(struct keeper *keeper, char *ret_error, size_t error_bytes)
{
	AUTO(config) config = NULL;
	int r = keeper_read_parsed(keeper, "state", &config, ret_error, error_bytes);
	if (r < 0 || !config)
		return r;
	const struct config_node *root = config_root(config);
	keeper->last_success_ns = json_body_u64(root, "last_success_ns", 0);
	keeper->stop_since_ns = json_body_u64(root, "stop_since_ns", 0);
	keeper->stop_stays = json_body_flag(root, "stop_stays");
	keeper->paused_until_ns = json_body_u64(root, "paused_until_ns", 0);
	keeper->last_id = json_body_u64(root, "last_id", 0);
	keeper->confirmed.windows = json_body_u64(root, "confirmed_windows", 0);
	keeper->confirmed.bytes = json_body_u64(root, "confirmed_bytes", 0);
	snprintf(keeper->stop, sizeof(keeper->stop), "%s", json_body_text(root, "stop"));
	snprintf(keeper->last_error, sizeof(keeper->last_error), "%s",
	        json_body_text(root, "last_error"));
	const struct config_node *deleted = json_body_find(root, "deleted");
	uint32_t count = deleted && config_node_kind(deleted) == CONFIG_MAP
	                         ? config_node_count(deleted)
	                         : 0;
	for (uint32_t i = 0; i < count && i < KEEPER_DELETED_MAX; i++) {
		const char *policy = config_node_key(deleted, i);
		struct keeper_bytes *one = &keeper->deleted[keeper->deleted_count++];
		snprintf(one->policy, sizeof(one->policy), "%s", policy);
		one->bytes = json_body_u64(deleted, policy, 0);
	}
	return 0;
}

static int keeper_load_clock(struct keeper *keeper, char *ret_error, size_t error_bytes)
{
	AUTO(config) config = NULL;
	autoclose int fd = open(KEEPER_BOOT_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t count = fd < 0 ? 0 : read(fd, keeper->boot, sizeof(keeper->boot) - 1);
	keeper->boot[count > 0 ? count : 0] = 0;
	keeper->boot[strcspn(keeper->boot, "\n")] = 0;

	int r = keeper_read_parsed(keeper, "clock", &config, ret_error, error_bytes);
	if (r < 0 || !config)
		return r;
	const struct config_node *root = config_root(config);
	bool is_this_boot = strcmp(json_body_text(root, "boot"), keeper->boot) == 0;
	keeper->clock_unix_ns = json_body_u64(root, "unix_ns", 0);
	keeper->clock_mono_ns = is_this_boot ? json_body_u64(root, "monotonic_ns", 0) : 0;
	return 0;
}

int keeper_load(struct keeper *keeper, char *ret_error, size_t error_bytes)
{
	AUTO_BUF policies = { 0 };
	AUTO_BUF holds = { 0 };
	int r = keeper_read(keeper, "policies", &policies);
	if (r == 0 && policies.count > 0)
		r = retention_parse("policies", (const char *)policies.bytes,
		        keeper_text_count(&policies), &keeper->set, ret_error, error_bytes);
	if (r == 0)
		r = keeper_read(keeper, "holds", &holds);
	if (r == 0 && holds.count > 0)
		r = retention_holds_parse("holds", (const char *)holds.bytes,
		        keeper_text_count(&holds), &keeper->holds, ret_error, error_bytes);
	if (r == 0)
		r = keeper_load_pending(keeper, ret_error, error_bytes);
	if (r == 0)
		r = keeper_load_state(keeper, ret_error, error_bytes);
	if (r == 0)
		r = keeper_load_clock(keeper, ret_error, error_bytes);
	if (r == 0 && !keeper->set)
		keeper->set = retention_set_new();
	if (r == 0 && !keeper->holds)
		keeper->holds = retention_holds_new();
	return r == 0 && (!keeper->set || !keeper->holds) ? -ENOMEM : r;
}
