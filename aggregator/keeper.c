/*
 * Documents (docs/formats/audit.md) are written with every change and read once, at the start. The
 * time that was last seen is written every turn, beside the monotonic clock and the boot it belongs
 * to, so that a clock which jumped is noticed also over a restart.
 */

#include "aggregator/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "aggregator/json_body.h"
#include "aggregator/keeper_work.h"
#include "core/log.h"

#define KEEPER_BOOT_PATH "/proc/sys/kernel/random/boot_id"
/* After another boot only the calendar is left to compare: a machine may have been off for long. */
#define KEEPER_OFF_NS             (UINT64_C(30) * 86400 * NS_PER_S)
#define KEEPER_LATE_NS            (60 * NS_PER_S)
#define KEEPER_DOCUMENT_BYTES_MAX (1u << 20)
#define KEEPER_PARTED_MAX         256 /* windows parted in one turn */

const struct keeper_actor keeper_itself = { KEEPER_ACTOR, "", "" };

uint64_t keeper_now(struct keeper *keeper)
{
	return clock_unix_ns(keeper->options.clock);
}

/* ---- documents ---- */

static void keeper_put_pending(const struct keeper_pending *pending, uint32_t count, struct buf *to)
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

static int keeper_load_pending(struct keeper *keeper, char *ret_error, size_t error_bytes)
{
	AUTO_BUF text = { 0 };
	AUTO(config) config = NULL;
	int r = keeper_read(keeper, "pending", &text);
	if (r < 0 || text.count == 0)
		return r;
	r = config_parse("pending", (const char *)text.bytes, keeper_text_count(&text), &config,
	        ret_error, error_bytes);
	if (r < 0)
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
	AUTO_BUF text = { 0 };
	AUTO(config) config = NULL;
	int r = keeper_read(keeper, "state", &text);
	if (r < 0 || text.count == 0)
		return r;
	r = config_parse("state", (const char *)text.bytes, keeper_text_count(&text), &config,
	        ret_error, error_bytes);
	if (r < 0)
		return r;
	const struct config_node *root = config_root(config);
	keeper->last_success_ns = json_body_u64(root, "last_success_ns", 0);
	keeper->stop_since_ns = json_body_u64(root, "stop_since_ns", 0);
	keeper->stop_stays = json_body_flag(root, "stop_stays");
	keeper->paused_until_ns = json_body_u64(root, "paused_until_ns", 0);
	keeper->last_id = json_body_u64(root, "last_id", 0);
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
	AUTO_BUF text = { 0 };
	AUTO(config) config = NULL;
	autoclose int fd = open(KEEPER_BOOT_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t count = fd < 0 ? 0 : read(fd, keeper->boot, sizeof(keeper->boot) - 1);
	keeper->boot[count > 0 ? count : 0] = 0;
	keeper->boot[strcspn(keeper->boot, "\n")] = 0;

	int r = keeper_read(keeper, "clock", &text);
	if (r < 0 || text.count == 0)
		return r;
	r = config_parse("clock", (const char *)text.bytes, keeper_text_count(&text), &config,
	        ret_error, error_bytes);
	if (r < 0)
		return r;
	const struct config_node *root = config_root(config);
	bool is_this_boot = strcmp(json_body_text(root, "boot"), keeper->boot) == 0;
	keeper->clock_unix_ns = json_body_u64(root, "unix_ns", 0);
	keeper->clock_mono_ns = is_this_boot ? json_body_u64(root, "monotonic_ns", 0) : 0;
	return 0;
}

static int keeper_load(struct keeper *keeper, char *ret_error, size_t error_bytes)
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

/*
 * Documents that cannot be read are no reason to take no data: nothing is removed, and that is
 * said, until somebody sets policies and holds anew and confirms.
 */
static int keeper_load_nothing(struct keeper *keeper, const char *error)
{
	char why[KEEPER_ERROR_BYTES];
	snprintf(why, sizeof(why),
	        "policies or holds cannot be read%s%.200s; set them again, then confirm",
	        *error ? ": " : "", error);
	retention_set_free(keeper->set);
	retention_holds_free(keeper->holds);
	keeper->set = retention_set_new();
	keeper->holds = retention_holds_new();
	if (!keeper->set || !keeper->holds)
		return -ENOMEM;
	keeper->stop[0] = 0;
	keeper_set_stop(keeper, true, why);
	return 0;
}

/* ---- classes for the sealer ---- */

/* Which class a series is of: series whose tiers are the same are one. In the store's gate. */
static uint32_t keeper_classify(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	struct keeper *keeper = owner;
	struct retention_subject subject = { tenant, dict, series };
	(void)pthread_mutex_lock(&keeper->classes_lock);
	struct retention_outcome outcome = retention_evaluate(
	        keeper->classes_set, &keeper->options.limits, subject);
	uint32_t class = 0;
	while (class < keeper->classes_count &&
	        memcmp(&keeper->classes[class], &outcome.keep, sizeof(outcome.keep)) != 0)
		class ++;
	if (class == keeper->classes_count && class < STORE_CLASS_COUNT_MAX)
		keeper->classes[keeper->classes_count++] = outcome.keep;
	(void)pthread_mutex_unlock(&keeper->classes_lock);
	return class;
}

/* Has everything of a batch expired? In the store's gate. */
static bool keeper_has_expired(
        void *owner, const char *tenant, const struct batch *batch, uint64_t to_ns)
{
	struct keeper *keeper = owner;
	uint64_t now_ns = keeper_now(keeper);
	bool has_expired = batch->rows_count > 0;
	uint32_t known = SERIES_NONE;
	(void)pthread_mutex_lock(&keeper->classes_lock);
	has_expired &= keeper->classes_decide;
	for (uint32_t i = 0; i < batch->rows_count && has_expired; i++) {
		if (batch->rows[i].series == known)
			continue;
		known = batch->rows[i].series;
		struct retention_subject subject = { tenant, batch->dict, known };
		struct retention_outcome outcome = retention_evaluate(
		        keeper->classes_set, &keeper->options.limits, subject);
		/* A coarser tier lasts at least as long as a finer one. */
		has_expired = retention_expires_ns(&outcome, RETENTION_1D, to_ns) <= now_ns;
	}
	(void)pthread_mutex_unlock(&keeper->classes_lock);
	return has_expired;
}

/* After holds, graces, a stop or a pause changed. */
static void keeper_set_decides(struct keeper *keeper)
{
	(void)pthread_mutex_lock(&keeper->classes_lock);
	keeper->classes_decide = keeper->holds->count == 0 && keeper->pending_count == 0 &&
	                         (!*keeper->stop || !keeper->stop_stays) &&
	                         keeper->paused_until_ns <= keeper_now(keeper);
	(void)pthread_mutex_unlock(&keeper->classes_lock);
}

/* From now on units are made for the policies as they are. */
static int keeper_set_classes(struct keeper *keeper)
{
	AUTO(retention_set) copy = NULL;
	int r = retention_merge(keeper->set, NULL, &copy);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&keeper->classes_lock);
	struct retention_set *before = keeper->classes_set;
	keeper->classes_set = TAKE(copy);
	/*
	 * A window that is being sealed has numbers of before: they keep their meaning, unless most
	 * of them are used up. Then units may be mixed, which the plan sees and parts.
	 */
	if (keeper->classes_count > STORE_CLASS_COUNT_MAX / 2)
		keeper->classes_count = 0;
	(void)pthread_mutex_unlock(&keeper->classes_lock);
	retention_set_free(before);
	keeper_set_decides(keeper);
	store_set_classify(
	        keeper->options.store, keeper->set->count > 0 ? keeper_classify : NULL, keeper);
	store_set_has_expired(
	        keeper->options.store, keeper->set->count > 0 ? keeper_has_expired : NULL, keeper);
	return 0;
}

uint32_t keeper_part_mixed(struct keeper *keeper, const struct retention_plan *plan)
{
	const struct store_window_name *windows = (const void *)plan->mixed.bytes;
	uint32_t count = (uint32_t)(plan->mixed.count / sizeof(*windows)), parted = 0;
	for (uint32_t i = 0; i < count && i < KEEPER_PARTED_MAX && !keeper->is_cancelled; i++) {
		struct store_resealed resealed = { 0 };
		uint64_t changes = keeper_leave(keeper);
		int r = store_reseal(
		        keeper->options.store, windows[i], keeper_classify, keeper, &resealed);
		(void)keeper_return(keeper, changes); /* parting is by what is in force then */
		if (r < 0 && r != -ENOENT) {
			log_warn("reseal-failed",
			        "%s: what several policies share is kept by the longest",
			        strerror(-r));
			return parted;
		}
		parted += resealed.units_parted;
	}
	return parted;
}

/* ---- changes ---- */

/* The new set's canonical text, and digests of both. */
static int keeper_describe(const struct retention_set *before, const struct retention_set *after,
        char digest_before[RETENTION_DIGEST_BYTES], char digest_after[RETENTION_DIGEST_BYTES],
        struct buf *text)
{
	struct json_writer json = json_writer_of(text, false);
	retention_put_json(after, &json);
	int r = retention_digest(before, digest_before);
	r = r < 0 ? r : retention_digest(after, digest_after);
	return r < 0 ? r : text->failed ? -ENOMEM : 0;
}

static void keeper_drop_all_pending(struct keeper *keeper)
{
	for (uint32_t i = 0; i < keeper->pending_count; i++)
		retention_set_free(keeper->pending[i].set);
	keeper->pending_count = 0;
}

/* Under both locks, in which others see all of a change or nothing of it. */
static void keeper_lock_words(struct keeper *keeper)
{
	(void)pthread_mutex_lock(&keeper->words_lock);
}

static void keeper_unlock_words(struct keeper *keeper)
{
	(void)pthread_mutex_unlock(&keeper->words_lock);
}

static int keeper_make_pending(struct keeper *keeper, const struct retention_set *before,
        struct keeper_pending *ret_pending)
{
	struct keeper_pending pending = { .until_ns = keeper_now(keeper) +
		                                      keeper->options.grace_ns };
	if (keeper->pending_count == KEEPER_PENDING_MAX)
		return -E2BIG;
	int r = retention_merge(before, NULL, &pending.set);
	if (r == 0)
		*ret_pending = pending;
	return r;
}

/* Everything of one change in one synced write. */
static int keeper_commit_policies(struct keeper *keeper, const struct retention_set *set,
        const struct keeper_pending *pending, uint32_t pending_count, const struct keeper_actor *by,
        const char *action, uint64_t bytes, const char *details)
{
	char before[RETENTION_DIGEST_BYTES], after[RETENTION_DIGEST_BYTES];
	AUTO_BUF policies = { 0 };
	AUTO_BUF text = { 0 };
	int r = keeper_describe(keeper->set, set, before, after, &policies);
	keeper_put_pending(pending, pending_count, &text);
	if (r < 0 || text.failed)
		return r < 0 ? r : -ENOMEM;
	if (policies.count > KEEPER_DOCUMENT_BYTES_MAX || text.count > KEEPER_DOCUMENT_BYTES_MAX)
		return -EFBIG; /* it could not be read again */
	struct audit_document documents[] = {
		{ "policies", policies.bytes, policies.count },
		{ "pending", text.bytes, text.count },
	};
	struct audit_entry entry = { .actor = by->actor,
		.origin = by->origin,
		.request = by->request,
		.action = action,
		.before = before,
		.after = after,
		.bytes = bytes,
		.details = details };
	return store_administer(keeper->options.store, documents, 2, &entry, NULL);
}

/* What is kept beside the new set: with a grace all of before, and the set that it replaces. */
static int keeper_list_pending(struct keeper *keeper, bool grace,
        struct keeper_pending ret_pending[KEEPER_PENDING_MAX], uint32_t *ret_count)
{
	uint32_t count = grace ? keeper->pending_count : 0;
	if (count > 0)
		memcpy(ret_pending, keeper->pending, count * sizeof(*ret_pending));
	if (grace && keeper->options.grace_ns > 0) {
		int r = keeper_make_pending(keeper, keeper->set, ret_pending + count);
		if (r < 0)
			return r;
		count++;
	}
	*ret_count = count;
	return 0;
}

int keeper_set_policies(struct keeper *keeper, struct retention_set *set, bool grace,
        const struct keeper_actor *by, const char *action, uint64_t bytes, const char *details)
{
	struct keeper_pending pending[KEEPER_PENDING_MAX] = { 0 };
	uint32_t count = 0, before = keeper->pending_count;
	int r = keeper_list_pending(keeper, grace, pending, &count);
	if (r < 0)
		return r;
	r = keeper_commit_policies(keeper, set, pending, count, by, action, bytes, details);
	if (r < 0) {
		if (count > before)
			retention_set_free(pending[before].set);
		return r;
	}
	keeper_lock_words(keeper);
	if (!grace)
		keeper_drop_all_pending(keeper);
	memcpy(keeper->pending, pending, count * sizeof(*pending));
	keeper->pending_count = count;
	retention_set_free(keeper->set);
	keeper->set = set;
	keeper_unlock_words(keeper);
	keeper->changes++;
	return keeper_set_classes(keeper);
}

int keeper_set_holds(struct keeper *keeper, struct retention_holds *holds,
        const struct keeper_actor *by, const char *action, const char *details)
{
	AUTO_BUF text = { 0 };
	struct json_writer json = json_writer_of(&text, false);
	retention_holds_put_json(holds, &json);
	if (text.failed)
		return -ENOMEM;
	if (text.count > KEEPER_DOCUMENT_BYTES_MAX)
		return -EFBIG; /* it could not be read again */
	struct audit_document document = { "holds", text.bytes, text.count };
	int r = keeper_write(keeper, &document, 1, by, action, 0, details);
	if (r < 0)
		return r;
	keeper_lock_words(keeper);
	retention_holds_free(keeper->holds);
	keeper->holds = holds;
	keeper_unlock_words(keeper);
	keeper->changes++;
	keeper_set_decides(keeper);
	return 0;
}

int keeper_confirm(struct keeper *keeper, const struct keeper_actor *by)
{
	if (!*keeper->stop)
		return 0;
	char before[KEEPER_ERROR_BYTES];
	AUTO_BUF details = { 0 };
	struct json_writer json = json_writer_of(&details, false);
	snprintf(before, sizeof(before), "%s", keeper->stop);
	json_object_begin(&json);
	json_key_text(&json, "stop", before);
	json_object_end(&json);
	buf_put_u8(&details, 0);
	keeper->stop[0] = 0;
	int r = details.failed ? -ENOMEM
	                       : keeper_write(keeper, NULL, 0, by, "retention.confirm", 0,
	                                 (const char *)details.bytes);
	if (r < 0)
		memcpy(keeper->stop, before, sizeof(before));
	return r;
}

/* ---- a turn ---- */

uint64_t keeper_leave(struct keeper *keeper)
{
	uint64_t changes = keeper->changes;
	if (keeper->has_turner && pthread_equal(keeper->turner, pthread_self()))
		(void)pthread_mutex_unlock(&keeper->lock);
	return changes;
}

bool keeper_return(struct keeper *keeper, uint64_t changes)
{
	if (keeper->has_turner && pthread_equal(keeper->turner, pthread_self()))
		(void)pthread_mutex_lock(&keeper->lock);
	return keeper->changes != changes;
}

struct plan_options keeper_plan_of(
        struct keeper *keeper, struct retention_set *const *set, uint64_t horizon_ns)
{
	return (struct plan_options){
		.store = keeper->options.store,
		.sets = (const struct retention_set *const *)set,
		.sets_count = 1,
		.holds = keeper->holds,
		.limits = &keeper->options.limits,
		.now_ns = keeper_now(keeper),
		.horizon_ns = horizon_ns,
	};
}

bool keeper_is_too_much(const struct retention_plan *plan, char *ret_why, size_t why_bytes)
{
	if (plan->bytes_now > plan->bytes_visible / KEEPER_STOP_PART) {
		snprintf(ret_why, why_bytes,
		        "%" PRIu64 " of %" PRIu64 " bytes would go, which is more than a fifth",
		        plan->bytes_now, plan->bytes_visible);
		return true;
	}
	for (uint32_t i = 0; i < plan->tenants_count; i++) {
		const struct plan_tenant *tenant = &plan->tenants[i];
		if (tenant->bytes_now <= tenant->bytes / KEEPER_STOP_TENANT)
			continue;
		snprintf(ret_why, why_bytes,
		        "%" PRIu64 " of %" PRIu64 " bytes of tenant \"%s\" would go, which is more "
		        "than half",
		        tenant->bytes_now, tenant->bytes, tenant->name);
		return true;
	}
	return false;
}

void keeper_set_stop(struct keeper *keeper, bool stays, const char *why)
{
	if (*keeper->stop)
		return;
	snprintf(keeper->stop, sizeof(keeper->stop), "%s", why);
	keeper->stop_stays = stays;
	keeper->stop_since_ns = keeper_now(keeper);
	log_error("retention-stopped",
	        "%s: nothing is removed until it is confirmed; see `profleet retention status`",
	        why);
	AUTO_BUF details = { 0 };
	struct json_writer json = json_writer_of(&details, false);
	json_object_begin(&json);
	json_key_text(&json, "why", why);
	json_object_end(&json);
	buf_put_u8(&details, 0);
	if (!details.failed)
		(void)keeper_write(keeper, NULL, 0, &keeper_itself, "retention.stop", 0,
		        (const char *)details.bytes); /* the next turn writes the state anyway */
}

static void keeper_check_clock(struct keeper *keeper)
{
	uint64_t now_ns = keeper_now(keeper);
	uint64_t mono_ns = clock_monotonic_ns(keeper->options.clock);
	uint64_t limit_ns = KEEPER_JUMP_NS, expected_ns = keeper->clock_unix_ns;
	char why[160];
	if (keeper->clock_mono_ns > 0 && mono_ns >= keeper->clock_mono_ns)
		expected_ns += mono_ns - keeper->clock_mono_ns;
	else if (now_ns > expected_ns)
		limit_ns = KEEPER_OFF_NS;
	uint64_t off_ns = now_ns > expected_ns ? now_ns - expected_ns : expected_ns - now_ns;
	if (keeper->clock_unix_ns > 0 && off_ns > limit_ns) {
		snprintf(why, sizeof(why), "the clock jumped %s by %" PRIu64 " s",
		        now_ns > expected_ns ? "forward" : "back", off_ns / NS_PER_S);
		keeper->clock_unix_ns = now_ns;
		keeper->clock_mono_ns = mono_ns;
		keeper_set_stop(keeper, true, why);
	}
	keeper->clock_unix_ns = now_ns;
	keeper->clock_mono_ns = mono_ns;
}

/* Policies whose grace is over no longer keep anything. */
static int keeper_expire_pending(struct keeper *keeper)
{
	uint64_t now_ns = keeper_now(keeper);
	uint32_t kept = 0, before = keeper->pending_count;
	keeper_lock_words(keeper);
	for (uint32_t i = 0; i < before; i++) {
		if (keeper->pending[i].until_ns > now_ns)
			keeper->pending[kept++] = keeper->pending[i];
		else
			retention_set_free(keeper->pending[i].set);
	}
	keeper->pending_count = kept;
	keeper_unlock_words(keeper);
	if (kept == before)
		return 0;
	AUTO_BUF text = { 0 };
	keeper_put_pending(keeper->pending, keeper->pending_count, &text);
	struct audit_document document = { "pending", text.bytes, text.count };
	return text.failed ? -ENOMEM
	                   : keeper_write(keeper, &document, 1, &keeper_itself,
	                             "retention.in_force", 0, "{}");
}

static int keeper_enforce(struct keeper *keeper, const struct retention_plan *plan)
{
	char why[KEEPER_ERROR_BYTES];
	uint32_t count = retention_plan_items_count(plan);
	keeper->overdue_bytes = plan->bytes_now;
	keeper->held_bytes = plan->bytes_held;
	keeper->hidden_bytes = plan->bytes_hidden;
	if (keeper->paused_until_ns > keeper_now(keeper))
		return 0;
	if (*keeper->stop && keeper->stop_stays)
		return count > 0 ? -EAGAIN : 0;
	if (count > 0 && keeper_is_too_much(plan, why, sizeof(why))) {
		keeper_set_stop(keeper, false, why);
		return -EAGAIN;
	}
	/* What was too much no longer is: policies or data changed. */
	keeper->stop[0] = 0;
	int r = 0;
	if (count > 0) {
		AUTO_BUF runs = { 0 };
		struct store_expired expired = { 0 };
		r = keeper_hide(keeper, plan, &keeper_itself, "retention.hide", &runs, &expired);
	}
	if (r == 0) {
		keeper->overdue_bytes = 0;
		(void)keeper_part_mixed(keeper, plan);
	}
	return r;
}

/* What a plan names, for status: gone again once it is hidden. */
static void keeper_note_overdue(struct keeper *keeper, const struct retention_plan *plan)
{
	(void)pthread_mutex_lock(&keeper->state_lock);
	keeper->overdue_count = plan ? keeper_sum_policies(plan, keeper->overdue) : 0;
	(void)pthread_mutex_unlock(&keeper->state_lock);
}

/* Lets others in where it can. 1: policies or holds changed meanwhile, and it is of no use. */
static int keeper_make_plan(struct keeper *keeper, struct retention_plan *plan)
{
	AUTO_KEEPER_COPY copy = { 0 };
	int r = keeper_copy_take(keeper, &copy);
	if (r < 0)
		return r;
	struct plan_options options = keeper_copy_options(keeper, &copy, 0);
	uint64_t changes = keeper_leave(keeper);
	r = retention_plan_make(&options, plan);
	bool is_changed = keeper_return(keeper, changes);
	return r == 0 && is_changed ? 1 : r;
}

/* A ceiling ends what no policy speaks of. */
static bool keeper_has_ceiling(const struct keeper *keeper)
{
	const struct retention_limits *limits = &keeper->options.limits;
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		if (limits->general.ceiling.keep_ns[tier] != RETENTION_FOREVER)
			return true;
	return limits->tenants_count > 0;
}

static int keeper_evaluate(struct keeper *keeper)
{
	int r = 1;
	while (r == 1) {
		AUTO_RETENTION_PLAN plan = { 0 };
		if (keeper->set->count == 0 && keeper->holds->count == 0 &&
		        !keeper_has_ceiling(keeper)) {
			keeper->overdue_bytes = 0;
			keeper->held_bytes = 0;
			keeper_note_overdue(keeper, NULL);
			if (!keeper->stop_stays)
				keeper->stop[0] = 0;
			return 0;
		}
		r = keeper_make_plan(keeper, &plan);
		if (r != 0)
			continue;
		keeper_note_overdue(keeper, &plan);
		r = keeper_enforce(keeper, &plan);
		if (r == 0 && keeper->overdue_bytes == 0)
			keeper_note_overdue(keeper, NULL);
	}
	return r;
}

int keeper_turn(struct keeper *keeper)
{
	keeper->last_turn_ns = keeper_now(keeper);
	keeper_check_clock(keeper);
	int r = keeper_expire_pending(keeper);
	int enforced = r < 0 ? r : keeper_evaluate(keeper);
	r = keeper_erase_due(keeper);
	r = enforced < 0 ? enforced : r;
	if (r == 0) {
		keeper->last_success_ns = keeper_now(keeper);
		keeper->last_success_mono_ns = clock_monotonic_ns(keeper->options.clock);
		keeper->last_error[0] = 0;
	} else if (r != -EAGAIN) {
		char text[KEEPER_ERROR_BYTES] = "";
		store_read_error(keeper->options.store, text, sizeof(text));
		snprintf(keeper->last_error, sizeof(keeper->last_error), "%s%s%s", strerror(-r),
		        *text ? ": " : "", text);
		log_warn("retention-failed", "%s: it is tried again", keeper->last_error);
	}
	int written = keeper_write(keeper, NULL, 0, NULL, NULL, 0, NULL);
	keeper_publish(keeper);
	return r < 0 ? r : written;
}

/* ---- the thread ---- */

static void keeper_wait(struct keeper *keeper)
{
	struct timespec until;
	uint64_t every_ns = keeper->options.every_ns;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(every_ns / NS_PER_S);
	until.tv_nsec += (long)(every_ns % NS_PER_S);
	if (until.tv_nsec >= (long)NS_PER_S) {
		until.tv_sec++;
		until.tv_nsec -= (long)NS_PER_S;
	}
	while (!keeper->is_stopping &&
	        pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until) == 0)
		;
}

static void *keeper_run(void *owner)
{
	struct keeper *keeper = owner;
	(void)pthread_mutex_lock(&keeper->lock);
	keeper->turner = pthread_self();
	keeper->has_turner = true;
	for (;;) {
		keeper_wait(keeper);
		if (keeper->is_stopping)
			break;
		(void)keeper_turn(keeper); /* said in the log and the state */
	}
	(void)pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

int keeper_new(struct keeper_options options, struct keeper **ret_keeper, char *ret_error,
        size_t error_bytes)
{
	AUTO(keeper) keeper = calloc(1, sizeof(*keeper));
	pthread_condattr_t attributes;
	snprintf(ret_error, error_bytes, "%s", "");
	if (!keeper)
		return -ENOMEM;
	keeper->options = options;
	keeper->started_mono_ns = clock_monotonic_ns(options.clock);
	(void)pthread_mutex_init(&keeper->lock, NULL);
	(void)pthread_mutex_init(&keeper->words_lock, NULL);
	(void)pthread_mutex_init(&keeper->state_lock, NULL);
	(void)pthread_mutex_init(&keeper->classes_lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&keeper->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	int r = keeper_load(keeper, ret_error, error_bytes);
	if (r == -EBADMSG || r == -EINVAL || r == -EIO || r == -EPROTONOSUPPORT)
		r = keeper_load_nothing(keeper, ret_error);
	if (r == 0)
		r = keeper_set_classes(keeper);
	if (r < 0) {
		if (!*ret_error)
			snprintf(ret_error, error_bytes, "%s", strerror(-r));
		return r;
	}
	keeper_publish(keeper);
	*ret_keeper = TAKE(keeper);
	return 0;
}

int keeper_start(struct keeper *keeper)
{
	int r = pthread_create(&keeper->thread, NULL, keeper_run, keeper);
	keeper->is_started = r == 0;
	return -r;
}

void keeper_free(struct keeper *keeper)
{
	if (!keeper)
		return;
	__atomic_store_n(&keeper->is_cancelled, true, __ATOMIC_RELAXED);
	(void)pthread_mutex_lock(&keeper->lock);
	keeper->is_stopping = true;
	(void)pthread_cond_signal(&keeper->wake);
	(void)pthread_mutex_unlock(&keeper->lock);
	if (keeper->is_started)
		(void)pthread_join(keeper->thread, NULL);
	store_set_classify(keeper->options.store, NULL, NULL);
	store_set_has_expired(keeper->options.store, NULL, NULL);
	keeper_drop_all_pending(keeper);
	for (uint32_t i = 0; i < KEEPER_PLANS_MAX; i++)
		retention_set_free(keeper->plans[i].proposed);
	retention_set_free(keeper->set);
	retention_set_free(keeper->classes_set);
	retention_holds_free(keeper->holds);
	(void)pthread_cond_destroy(&keeper->wake);
	(void)pthread_mutex_destroy(&keeper->classes_lock);
	(void)pthread_mutex_destroy(&keeper->state_lock);
	(void)pthread_mutex_destroy(&keeper->words_lock);
	(void)pthread_mutex_destroy(&keeper->lock);
	free(keeper);
}

/* ---- for others ---- */

void keeper_publish(struct keeper *keeper)
{
	struct keeper_state state = {
		.policies = keeper->set->count,
		.last_success_ns = keeper->last_success_ns,
		.overdue_bytes = keeper->overdue_bytes,
		.hold_bytes = keeper->held_bytes,
		.hidden_bytes = keeper->hidden_bytes,
		.is_stopped = *keeper->stop,
		.last_turn_ns = keeper->last_turn_ns,
		.stop_since_ns = keeper->stop_since_ns,
		.paused_until_ns = keeper->paused_until_ns,
		.pending_count = keeper->pending_count,
	};
	memcpy(state.last_error, keeper->last_error, sizeof(state.last_error));
	memcpy(state.stop, keeper->stop, sizeof(state.stop));
	for (uint32_t i = 0; i < keeper->pending_count; i++)
		state.pending_until_ns[i] = keeper->pending[i].until_ns;
	keeper_set_decides(keeper);
	(void)pthread_mutex_lock(&keeper->state_lock);
	keeper->state = state;
	keeper->state_success_mono_ns = keeper->last_success_mono_ns;
	(void)pthread_mutex_unlock(&keeper->state_lock);
}

struct keeper_state keeper_state(struct keeper *keeper)
{
	uint64_t now_ns = clock_monotonic_ns(keeper->options.clock);
	(void)pthread_mutex_lock(&keeper->state_lock);
	struct keeper_state state = keeper->state;
	uint64_t since_ns = keeper->state_success_mono_ns > 0 ? keeper->state_success_mono_ns
	                                                      : keeper->started_mono_ns;
	(void)pthread_mutex_unlock(&keeper->state_lock);
	state.is_late = state.policies > 0 &&
	                now_ns - since_ns > 2 * keeper->options.every_ns + KEEPER_LATE_NS;
	return state;
}

void keeper_deleted(struct keeper *keeper, keeper_visit_bytes visit, void *owner)
{
	(void)pthread_mutex_lock(&keeper->state_lock);
	for (uint32_t i = 0; i < keeper->deleted_count; i++)
		visit(owner, keeper->deleted[i].policy, keeper->deleted[i].bytes);
	(void)pthread_mutex_unlock(&keeper->state_lock);
}

void keeper_overdue(struct keeper *keeper, keeper_visit_bytes visit, void *owner)
{
	(void)pthread_mutex_lock(&keeper->state_lock);
	for (uint32_t i = 0; i < keeper->overdue_count; i++)
		visit(owner, keeper->overdue[i].policy, keeper->overdue[i].bytes);
	(void)pthread_mutex_unlock(&keeper->state_lock);
}
