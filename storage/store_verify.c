/*
 * The order is that of references: the format, the dictionary, streams and counters first, then
 * what speaks of them. Where the dictionary or the streams have a hole, what lies behind it cannot
 * be compared any more: then only checksums are read, so that one damaged delta is one finding.
 */

#include "storage/store_verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/clock.h"
#include "core/utf8.h"
#include "profile/symbols.h"
#include "storage/store_private.h"
#include "storage/store_verify_private.h"

#define VERIFY_BLOCK_CACHE_BYTES (32u << 20)
#define VERIFY_MEMTABLES_BYTES   (64u << 20)
#define VERIFY_KEY_BYTES_SHOWN   32
#define VERIFY_STREAMS_MAX       (16u << 20)
#define VERIFY_NOT_OPENED        "the aggregator does not start: restore a backup"
#define VERIFY_NOTHING_READ                                                                        \
	"all of it, as the database does not open with this, and nothing else was looked at: "     \
	"restore a backup (profleet-aggregator --restore BACKUP --data NEW)"

/* ---- findings ---- */

static int verify_tell(struct verify *verify, struct store_finding *finding)
{
	if (finding->kind == STORE_FINDING_DAMAGE)
		verify->summary.damaged++;
	else
		verify->summary.garbage++;
	return verify->options->found(verify->options->owner, finding);
}

int verify_damage(struct verify *verify, const struct verify_place *place, const char *missing,
        const char *format, ...)
{
	struct store_finding finding = {
		.kind = STORE_FINDING_DAMAGE,
		.family = place->family,
		.missing = missing,
	};
	va_list arguments;
	memcpy(finding.key, place->key, sizeof(finding.key));
	va_start(arguments, format);
	vsnprintf(finding.reason, sizeof(finding.reason), format, arguments);
	va_end(arguments);
	return verify_tell(verify, &finding);
}

int verify_garbage(struct verify *verify, const struct verify_place *place, const char *reason)
{
	struct store_finding finding = {
		.kind = STORE_FINDING_GARBAGE,
		.family = place->family,
		.missing = "",
	};
	memcpy(finding.key, place->key, sizeof(finding.key));
	snprintf(finding.reason, sizeof(finding.reason), "%s", reason);
	return verify_tell(verify, &finding);
}

const char *verify_reason(int result)
{
	switch (result) {
	case -ENOENT:
		return "it is missing";
	case -EPROTONOSUPPORT:
		return "it was written by a newer profleet";
	case -EIO:
		return "the database cannot read it";
	case -EOVERFLOW:
		return "its sums do not fit 64 bits";
	default:
		return "its checksum or its contents are wrong";
	}
}

bool verify_is_damage(int result)
{
	return result == -EBADMSG || result == -EPROTONOSUPPORT || result == -ENOENT ||
	       result == -EOVERFLOW || result == -E2BIG || result == -EIO;
}

void verify_put(struct verify_place *place, const char *format, ...)
{
	size_t count = strlen(place->key);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(place->key + count, sizeof(place->key) - count, format, arguments);
	va_end(arguments);
}

void verify_put_text(struct verify_place *place, const char *bytes, size_t count)
{
	const uint8_t *at = (const uint8_t *)bytes;
	while (count > 0) {
		uint32_t code = 0;
		size_t width = utf8_decode(at, count, &code);
		if (width > 0 && utf8_is_harmless(code))
			verify_put(place, "%.*s", (int)width, (const char *)at);
		else
			verify_put(place, "?");
		width = width ? width : 1;
		at += width;
		count -= width;
	}
}

void verify_put_time(struct verify_place *place, uint64_t unix_ns)
{
	time_t seconds = (time_t)(unix_ns / NS_PER_S);
	struct tm utc;
	char text[32] = "?";
	if (gmtime_r(&seconds, &utc))
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	if (unix_ns % NS_PER_S)
		verify_put(place, "%s.%03uZ", text, (unsigned int)(unix_ns % NS_PER_S / NS_PER_MS));
	else
		verify_put(place, "%sZ", text);
}

static void verify_put_bytes(struct verify_place *place, struct kv_bytes bytes)
{
	const uint8_t *at = bytes.bytes;
	for (size_t i = 0; i < bytes.count && i < VERIFY_KEY_BYTES_SHOWN; i++)
		verify_put(place, "%02x", at[i]);
	if (bytes.count > VERIFY_KEY_BYTES_SHOWN)
		verify_put(place, "...");
}

/* A key that is none. */
static int verify_bad_key(struct verify *verify, const char *family, struct kv_bytes key)
{
	struct verify_place place = { .family = family };
	verify_put(&place, "key ");
	verify_put_bytes(&place, key);
	return verify_damage(verify, &place, "", "no key that this family has");
}

int verify_count(struct verify *verify, const char *family, struct kv_bytes key, size_t bytes)
{
	const struct store_verify_options *options = verify->options;
	verify->summary.records++;
	verify->summary.bytes += key.count + bytes;
	if (options->progress)
		options->progress(options->owner, family, &verify->summary);
	return options->cancelled && __atomic_load_n(options->cancelled, __ATOMIC_RELAXED)
	               ? -ECANCELED
	               : 0;
}

/* ---- going over a family ---- */

int verify_scan_init(
        struct verify_scan *scan, struct verify *verify, enum kv_family of, const char *family)
{
	*scan = (struct verify_scan){ .verify = verify, .family = family };
	scan->iterator = kv_iterator_new(
	        verify->kv, of, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	return scan->iterator ? 0 : -ENOMEM;
}

void verify_scan_fini(struct verify_scan *scan)
{
	kv_iterator_free(scan->iterator);
	buf_fini(&scan->last);
}

/* The files of the database cannot be read here: what is behind may be. */
static int verify_scan_skip(struct verify_scan *scan, int result, bool *ret_is_valid)
{
	struct kv_bytes last = { scan->last.bytes, scan->last.count };
	struct verify_place place = { .family = scan->family };
	char text[512];
	kv_error(scan->verify->kv, text, sizeof(text));
	*ret_is_valid = kv_iterator_skip(scan->iterator, last);
	verify_put(&place, "from %s", last.count ? "behind " : "the beginning");
	verify_put_bytes(&place, last);
	if (*ret_is_valid) {
		verify_put(&place, " to ");
		verify_put_bytes(&place, kv_iterator_key(scan->iterator));
	} else {
		verify_put(&place, " to the end");
	}
	(void)result;
	return verify_damage(scan->verify, &place, "whatever is kept between these keys",
	        "the database cannot read it: %s", text);
}

int verify_scan_next(struct verify_scan *scan, struct kv_bytes *ret_key, struct kv_bytes *ret_value)
{
	if (scan->is_begun && kv_iterator_is_valid(scan->iterator))
		kv_iterator_next(scan->iterator);
	scan->is_begun = true;
	while (!kv_iterator_is_valid(scan->iterator)) {
		bool is_valid;
		int r = kv_iterator_result(scan->iterator);
		if (r == 0)
			return 0;
		r = verify_scan_skip(scan, r, &is_valid);
		if (r < 0 || !is_valid)
			return r;
	}
	*ret_key = kv_iterator_key(scan->iterator);
	*ret_value = kv_iterator_value(scan->iterator);
	buf_reset(&scan->last);
	buf_put(&scan->last, ret_key->bytes, ret_key->count);
	int r = scan->last.failed ? -ENOMEM : 0;
	r = r < 0 ? r : verify_count(scan->verify, scan->family, *ret_key, ret_value->count);
	return r < 0 ? r : 1;
}

/* ---- format, dictionary, streams, counters ---- */

static int verify_format(struct verify *verify, char *ret_error, size_t error_bytes)
{
	static const struct kv_bytes key = { KEYS_META_FORMAT, sizeof(KEYS_META_FORMAT) - 1 };
	struct verify_place place = { .family = "default", .key = KEYS_META_FORMAT };
	struct record_format format;
	buf_reset(&verify->value);
	int r = kv_get(verify->kv, KV_META, key, &verify->value);
	r = r < 0 ? r : record_get_format(key, store_bytes(&verify->value), &format);
	if (r == -EPROTONOSUPPORT || (r == 0 && format.version_min > STORE_FORMAT_NEWEST)) {
		snprintf(ret_error, error_bytes,
		        "%s: was written by a newer profleet: verify it with that one",
		        verify->options->path);
		return -EPROTONOSUPPORT;
	}
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return verify_damage(verify, &place, VERIFY_NOT_OPENED, "%s", verify_reason(r));
	verify->summary.format = format.version;
	return 0;
}

/* Ascending: there are few. NULL: no memory. */
static struct verify_dict *verify_dict_of(struct verify *verify, uint32_t generation)
{
	uint32_t at = 0;
	while (at < verify->dicts_count && verify->dicts[at].generation < generation)
		at++;
	if (at < verify->dicts_count && verify->dicts[at].generation == generation)
		return &verify->dicts[at];
	if (verify->dicts_count == verify->dicts_capacity) {
		uint32_t capacity = verify->dicts_capacity ? verify->dicts_capacity * 2 : 4;
		struct verify_dict *dicts = realloc(verify->dicts, capacity * sizeof(*dicts));
		if (!dicts)
			return NULL;
		verify->dicts = dicts;
		verify->dicts_capacity = capacity;
	}
	const struct dict_limits *limits = &verify->options->limits;
	struct dict *dict = dict_new(limits->nodes ? *limits : dict_limits_default);
	if (!dict)
		return NULL;
	struct verify_dict *of = &verify->dicts[at];
	memmove(of + 1, of, (verify->dicts_count - at) * sizeof(*of));
	*of = (struct verify_dict){ .generation = generation, .dict = dict, .is_whole = true };
	verify->dicts_count++;
	return of;
}

int verify_turn_to(struct verify *verify, uint32_t generation)
{
	if (verify->batch && verify->generation == generation)
		return 0;
	for (uint32_t i = 0; i < verify->dicts_count; i++) {
		const struct verify_dict *of = &verify->dicts[i];
		if (of->generation != generation)
			continue;
		batch_free(verify->batch);
		verify->batch = batch_new(of->dict);
		verify->generation = generation;
		verify->dict = of->dict;
		verify->is_dict_whole = of->is_whole;
		verify->labels = sum_labels_find(of->dict);
		return verify->batch ? 0 : -ENOMEM;
	}
	return -EBADMSG;
}

/* Deltas come in order of their generations: one packer at a time is enough. */
static int verify_turn_packer(struct verify *verify, uint32_t generation)
{
	if (verify->packer && verify->packer_generation == generation)
		return 0;
	dict_packer_free(verify->packer);
	verify->packer = dict_packer_new();
	verify->packer_generation = generation;
	return verify->packer ? 0 : -ENOMEM;
}

/* What needs a text and has none is damaged; the text itself is looked at when its turn comes. */
static int verify_read_delta(
        struct verify *verify, struct verify_dict *to, struct kv_bytes key, struct kv_bytes value)
{
	struct kv_bytes text = { 0 };
	buf_reset(&verify->value);
	if (record_dict_has_text(value)) {
		int r = kv_get(verify->kv, KV_DICT_TEXT, key, &verify->value);
		if (r < 0)
			return r == -ENOENT || r == -EIO ? -EBADMSG : r;
		text = store_bytes(&verify->value);
	}
	return record_get_dict(key, value, text, verify->packer, to->dict);
}

static int verify_dict_delta(
        struct verify *verify, struct key_dict of, struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "dict" };
	struct verify_dict *to = verify_dict_of(verify, of.generation);
	struct reader payload;
	uint8_t version;
	if (!to)
		return -ENOMEM;
	int r = verify_turn_packer(verify, of.generation);
	if (of.ordinal != to->chunks_count) {
		verify_put(
		        &place, "deltas %" PRIu64 " to %" PRIu64, to->chunks_count, of.ordinal - 1);
		if (of.generation)
			verify_put(&place, " of generation %" PRIu32, of.generation);
		to->is_whole = false;
		r = verify_damage(verify, &place, VERIFY_NOT_OPENED, "they are missing");
		place = (struct verify_place){ .family = "dict" };
	}
	if (r < 0)
		return r;
	to->chunks_count = of.ordinal + 1;
	verify_put(&place, "delta %" PRIu64, of.ordinal);
	if (of.generation)
		verify_put(&place, " of generation %" PRIu32, of.generation);
	r = to->is_whole ? verify_read_delta(verify, to, key, value)
	                 : record_open_version(key, value, RECORD_VERSION_DICT, &version, &payload);
	if (r != -ENOSPC && !verify_is_damage(r))
		return r;
	to->is_whole = false;
	return verify_damage(verify, &place, VERIFY_NOT_OPENED, "%s",
	        r == -ENOSPC ? "it is past the limits of this configuration" : verify_reason(r));
}

/* Each is of a delta that has one: what that is without it was said there. */
static int verify_text(struct verify *verify, struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "dict_text" };
	struct key_dict of;
	if (keys_get_dict(key.bytes, key.count, &of) < 0)
		return verify_bad_key(verify, "dict_text", key);
	verify_put(&place, "text of delta %" PRIu64, of.ordinal);
	if (of.generation)
		verify_put(&place, " of generation %" PRIu32, of.generation);
	int r = record_check_dict_text(key, value);
	if (verify_is_damage(r))
		return verify_damage(verify, &place, VERIFY_NOT_OPENED, "%s", verify_reason(r));
	buf_reset(&verify->value);
	r = r < 0 ? r : kv_get(verify->kv, KV_DICT, key, &verify->value);
	if (r == -ENOENT || (r == 0 && !record_dict_has_text(store_bytes(&verify->value))))
		return verify_damage(verify, &place, VERIFY_NOT_OPENED, "no delta is its own");
	return verify_is_damage(r) || r == -EIO ? 0 : r;
}

static int verify_texts(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_DICT_TEXT, "dict_text");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0)
		r = verify_text(verify, key, value);
	verify_scan_fini(&scan);
	return r;
}

/* What the record of a generation says of it, once its deltas were read. */
static int verify_generation(
        struct verify *verify, uint32_t generation, struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "meta" };
	struct record_generation record;
	struct verify_dict *of = verify_dict_of(verify, generation);
	if (!of)
		return -ENOMEM;
	verify_put(&place, "generation %" PRIu32 " of the dictionary", generation);
	int r = record_get_generation(key, value, &record);
	if (verify_is_damage(r))
		return verify_damage(verify, &place, VERIFY_NOT_OPENED, "%s", verify_reason(r));
	struct dict_mark mark = dict_mark(of->dict);
	if (r < 0 || !record.is_closed || !of->is_whole)
		return r;
	if (record.chunks_count == of->chunks_count &&
	        memcmp(&mark, &record.mark, sizeof(mark)) == 0)
		return 0;
	of->is_whole = false;
	return verify_damage(verify, &place, VERIFY_NOT_OPENED, "its deltas are others");
}

static int verify_generations(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	uint32_t generation;
	int r = verify_scan_init(&scan, verify, KV_META, "meta");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0)
		if (keys_get_generation(key.bytes, key.count, &generation) == 0)
			r = verify_generation(verify, generation, key, value);
	verify_scan_fini(&scan);
	return r;
}

static int verify_dict(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_DICT, "dict");
	uint64_t damaged = verify->summary.damaged;
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0) {
		struct key_dict of;
		r = keys_get_dict(key.bytes, key.count, &of) < 0
		            ? verify_bad_key(verify, "dict", key)
		            : verify_dict_delta(verify, of, key, value);
	}
	verify_scan_fini(&scan);
	r = r < 0 ? r : verify_texts(verify);
	r = r < 0 ? r : verify_generations(verify);
	if (r < 0 || (verify->dicts_count == 0 && !verify_dict_of(verify, 0)))
		return r < 0 ? r : -ENOMEM;
	/* One that is named by nothing that can be read may be any of them. */
	for (uint32_t i = 0; i < verify->dicts_count && verify->summary.damaged != damaged; i++)
		verify->dicts[i].is_whole = false;
	return verify_turn_to(verify, verify->dicts[0].generation);
}

static int verify_tenant(struct verify *verify, const char *name, uint32_t *ret_tenant)
{
	for (uint32_t i = 0; i < verify->tenants_count; i++) {
		if (strcmp(verify->tenants[i].name, name) == 0) {
			*ret_tenant = i;
			return 0;
		}
	}
	if (verify->tenants_count == verify->tenants_capacity) {
		uint32_t capacity = verify->tenants_capacity ? verify->tenants_capacity * 2 : 8;
		struct verify_tenant *tenants = realloc(
		        verify->tenants, capacity * sizeof(*tenants));
		if (!tenants)
			return -ENOMEM;
		verify->tenants = tenants;
		verify->tenants_capacity = capacity;
	}
	struct verify_tenant *tenant = &verify->tenants[verify->tenants_count];
	*tenant = (struct verify_tenant){ .is_unsure = false };
	snprintf(tenant->name, sizeof(tenant->name), "%s", name);
	*ret_tenant = verify->tenants_count++;
	return 0;
}

/* An entry for each number up to this one; those in between are not known. */
static int verify_reserve_streams(struct verify *verify, uint32_t count)
{
	if (count > verify->streams_capacity) {
		uint64_t capacity = verify->streams_capacity ? verify->streams_capacity * 2 : 64;
		capacity = capacity < count ? count : capacity;
		struct verify_stream *streams = realloc(
		        verify->streams, capacity * sizeof(*streams));
		if (!streams)
			return -ENOMEM;
		verify->streams = streams;
		verify->streams_capacity = (uint32_t)capacity;
	}
	while (verify->streams_count < count)
		verify->streams[verify->streams_count++] =
		        (struct verify_stream){ .is_known = false };
	return 0;
}

static int verify_stream_record(
        struct verify *verify, uint32_t number, struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "stream" };
	struct verify_stream stream = { .is_known = true };
	int r = record_get_stream(key, value, &stream.who, &stream.seqs);
	if (verify_is_damage(r)) {
		verify_put(&place, "stream %" PRIu32, number);
		verify->are_streams_whole = false;
		return verify_damage(verify, &place, VERIFY_NOT_OPENED, "%s", verify_reason(r));
	}
	r = r < 0 ? r : verify_tenant(verify, stream.who.tenant, &stream.tenant);
	r = r < 0 ? r : verify_reserve_streams(verify, number + 1);
	if (r < 0) {
		seq_set_fini(&stream.seqs);
		return r;
	}
	verify->streams[number] = stream;
	return 0;
}

static int verify_streams(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	uint32_t expected = 0;
	int r = verify_scan_init(&scan, verify, KV_STREAM, "stream");
	uint64_t damaged = verify->summary.damaged;
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0) {
		uint32_t number;
		if (keys_get_stream(key.bytes, key.count, &number) < 0 ||
		        number >= VERIFY_STREAMS_MAX) {
			r = verify_bad_key(verify, "stream", key);
			continue;
		}
		/* None is forgotten before the first generation of the dictionary is. */
		if (number != expected && verify->dicts[0].generation == 0) {
			struct verify_place place = { .family = "stream" };
			verify_put(&place, "streams %" PRIu32 " to %" PRIu32, expected, number - 1);
			r = verify_damage(verify, &place, VERIFY_NOT_OPENED, "they are missing");
		}
		expected = number + 1;
		r = r < 0 ? r : verify_stream_record(verify, number, key, value);
	}
	verify_scan_fini(&scan);
	verify->are_streams_whole = verify->summary.damaged == damaged;
	return r;
}

static void verify_put_tenant(struct verify_place *place, const char *tenant)
{
	verify_put(place, "tenant \"");
	verify_put_text(place, tenant, strlen(tenant));
	verify_put(place, "\"");
}

static int verify_counters(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_COUNTERS, "counters");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0) {
		char name[KEYS_TENANT_BYTES_MAX + 1];
		struct store_counters counters = { 0 };
		uint32_t tenant;
		if (keys_get_tenant(key.bytes, key.count, name) < 0) {
			r = verify_bad_key(verify, "counters", key);
			continue;
		}
		int read = record_get_counters(key, value, &counters);
		r = verify_tenant(verify, name, &tenant);
		if (r < 0 || read == -ENOMEM)
			break;
		verify->tenants[tenant].has_counters = read == 0;
		verify->tenants[tenant].is_unsure = read < 0;
		verify->tenants[tenant].counters = counters;
		if (read == 0)
			continue;
		struct verify_place place = { .family = "counters" };
		verify_put_tenant(&place, name);
		r = verify_damage(verify, &place, VERIFY_NOT_OPENED, "%s", verify_reason(read));
	}
	verify_scan_fini(&scan);
	return r;
}

/* At the end: nothing is kept that was never counted. Totals include what was deleted. */
static int verify_totals(struct verify *verify)
{
	int r = 0;
	for (uint32_t i = 0; i < verify->tenants_count && r >= 0; i++) {
		const struct verify_tenant *tenant = &verify->tenants[i];
		struct verify_place place = { .family = "counters" };
		if (tenant->is_unsure || (tenant->counters.batches >= tenant->batches &&
		                                 tenant->counters.rows >= tenant->rows))
			continue;
		verify_put_tenant(&place, tenant->name);
		r = verify_damage(verify, &place, "the accounting of this tenant is wrong",
		        "%" PRIu64 " batches and %" PRIu64 " rows are kept, and only %" PRIu64
		        " and %" PRIu64 " were counted",
		        tenant->batches, tenant->rows, tenant->counters.batches,
		        tenant->counters.rows);
	}
	return r;
}

/* ---- what is hidden ---- */

static int verify_run_record(struct verify *verify, struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "expiry" };
	AUTO_EXPIRY_RUN run = { 0 };
	uint64_t id;
	if (expiry_get_key(key.bytes, key.count, &id) < 0)
		return verify_bad_key(verify, "expiry", key);
	verify_put(&place, "run %" PRIu64, id);
	int r = expiry_get_run(key, value, &run);
	if (verify_is_damage(r))
		return verify_damage(verify, &place,
		        "nothing: what it hides is seen again, and cannot be erased by it", "%s",
		        verify_reason(r));
	if (r < 0 || !run.is_erasing)
		return r;
	run.run.id = id;
	r = expiry_reserve(&verify->erasing, run.items_count);
	if (r == 0)
		expiry_add(&verify->erasing, &run);
	return r;
}

static int verify_expiry(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_EXPIRY, "expiry");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0)
		r = verify_run_record(verify, key, value);
	verify_scan_fini(&scan);
	return r;
}

/* ---- open batches ---- */

int verify_kept(struct verify *verify, const struct verify_place *place, struct key_batch key)
{
	verify->summary.batches++;
	if (key.stream >= verify->streams_count || !verify->streams[key.stream].is_known) {
		if (!verify->are_streams_whole)
			return 0; /* was told of with the streams */
		return verify_damage(verify, place, "this batch",
		        "its stream %" PRIu32 " does not exist", key.stream);
	}
	struct verify_stream *stream = &verify->streams[key.stream];
	verify->tenants[stream->tenant].batches++;
	int r = 0;
	if (key.seq == 0)
		return verify_damage(verify, place, "", "a seq of 0 is nobody's");
	if (seq_set_state(&stream->met, key.seq) == SEQ_KEPT)
		r = verify_damage(verify, place, "nothing: it is counted twice",
		        "seq %" PRIu64 " of stream %" PRIu32 " is kept twice", key.seq, key.stream);
	if (r == 0 && seq_set_state(&stream->seqs, key.seq) == SEQ_NEW)
		r = verify_damage(verify, place, "nothing: sent again it would be kept twice",
		        "the watermark of stream %" PRIu32 " does not know seq %" PRIu64,
		        key.stream, key.seq);
	return r < 0 ? r : seq_set_add(&stream->met, key.seq);
}

static void verify_put_batch(struct verify_place *place, struct key_batch key)
{
	verify_put_time(place, key.start_ns);
	verify_put(place, " stream %" PRIu32 " seq %" PRIu64, key.stream, key.seq);
}

static int verify_batch(struct verify *verify, struct kv_bytes key_bytes, struct kv_bytes value)
{
	struct verify_place place = { .family = "batch" };
	struct key_batch key;
	struct record_batch record;
	uint64_t end_ns;
	if (keys_get_batch(key_bytes.bytes, key_bytes.count, &key) < 0)
		return verify_bad_key(verify, "batch", key_bytes);
	verify_put_batch(&place, key);
	int r = record_get_batch(key_bytes, value, &record);
	r = r < 0 ? r : verify_turn_to(verify, record.generation);
	if (r == -ENOMEM)
		return r;
	batch_reset(verify->batch);
	if (r == 0 && __builtin_add_overflow(key.start_ns, record.duration_ns, &end_ns))
		r = -EBADMSG;
	if (r == 0 && verify->is_dict_whole)
		r = record_unpack_batch(&record, key.start_ns, &verify->scratch, verify->batch);
	if (verify_is_damage(r))
		r = verify_damage(verify, &place, "the rows and losses of this batch", "%s",
		        verify_reason(r));
	r = r < 0 ? r : verify_kept(verify, &place, key);
	verify->summary.rows += verify->batch->rows_count;
	if (key.stream < verify->streams_count && verify->streams[key.stream].is_known)
		verify->tenants[verify->streams[key.stream].tenant].rows +=
		        verify->batch->rows_count;
	return r;
}

static int verify_batches(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_BATCH, "batch");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0)
		r = verify_batch(verify, key, value);
	verify_scan_fini(&scan);
	return r;
}

/* ---- agents and symbols ---- */

static int verify_agents(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_AGENT, "agent");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0) {
		struct wire_uuid uuid;
		struct store_agent agent;
		char tenant[KEYS_TENANT_BYTES_MAX + 1];
		if (keys_get_agent(key.bytes, key.count, &uuid, tenant) < 0) {
			r = verify_bad_key(verify, "agent", key);
			continue;
		}
		r = record_get_agent(key, value, &agent);
		if (!verify_is_damage(r))
			continue;
		struct verify_place place = { .family = "agent" };
		verify_put_bytes(&place, (struct kv_bytes){ uuid.bytes, sizeof(uuid.bytes) });
		verify_put(&place, " ");
		verify_put_tenant(&place, tenant);
		r = verify_damage(verify, &place, "this agent in lists, until it speaks again",
		        "%s", verify_reason(r));
	}
	verify_scan_fini(&scan);
	return r;
}

static int verify_get_symbols(struct verify *verify, enum keys_symbols_part part,
        const char *build_id, struct kv_bytes *ret_key, uint8_t key_bytes[KEYS_SYMBOLS_BYTES_MAX])
{
	*ret_key = (struct kv_bytes){ key_bytes, keys_put_symbols(part, build_id, key_bytes) };
	buf_reset(&verify->value);
	return kv_get(verify->kv, KV_SYMBOLS, *ret_key, &verify->value);
}

static int verify_symbols_head(struct verify *verify, const struct verify_place *place,
        const char *build_id, struct kv_bytes key, struct kv_bytes value)
{
	uint8_t key_bytes[KEYS_SYMBOLS_BYTES_MAX];
	struct kv_bytes body_key, body;
	uint64_t body_bytes = 0;
	int r = record_get_symbols_head(key, value, &body_bytes);
	if (verify_is_damage(r))
		return verify_damage(
		        verify, place, "nothing: it is asked for again", "%s", verify_reason(r));
	if (r < 0 || body_bytes == 0)
		return r;
	r = verify_get_symbols(verify, KEYS_SYMBOLS_BODY, build_id, &body_key, key_bytes);
	r = r < 0 ? r : record_get_symbols_body(body_key, store_bytes(&verify->value), &body);
	if (r == 0 && body.count != body_bytes)
		r = -EBADMSG;
	AUTO(symbols) symbols = NULL;
	r = r < 0 ? r : symbols_open(body.bytes, body.count, &symbols);
	if (verify_is_damage(r))
		return verify_damage(verify, place, "names of functions of this file",
		        "its table: %s", verify_reason(r));
	return r;
}

static int verify_symbols_record(struct verify *verify, struct kv_bytes key, struct kv_bytes value)
{
	struct verify_place place = { .family = "symbols" };
	uint8_t key_bytes[KEYS_SYMBOLS_BYTES_MAX];
	char build_id[KEYS_BUILD_ID_BYTES_MAX + 1];
	enum keys_symbols_part part;
	struct kv_bytes head;
	if (keys_get_symbols(key.bytes, key.count, &part, build_id) < 0)
		return verify_bad_key(verify, "symbols", key);
	verify_put(&place, "build-id ");
	verify_put_text(&place, build_id, strlen(build_id));
	if (part == KEYS_SYMBOLS_HEAD)
		return verify_symbols_head(verify, &place, build_id, key, value);
	int r = verify_get_symbols(verify, KEYS_SYMBOLS_HEAD, build_id, &head, key_bytes);
	return r == -ENOENT ? verify_garbage(verify, &place, "a table without its head") : 0;
}

static int verify_symbols(struct verify *verify)
{
	struct verify_scan scan;
	struct kv_bytes key = { 0 }, value = { 0 };
	int r = verify_scan_init(&scan, verify, KV_SYMBOLS, "symbols");
	while (r >= 0 && (r = verify_scan_next(&scan, &key, &value)) > 0)
		r = verify_symbols_record(verify, key, value);
	verify_scan_fini(&scan);
	return r;
}

/* ---- all of it ---- */

static int verify_init(struct verify *verify)
{
	verify->memory = detail_memory_new();
	verify->sums_memory = sum_memory_new();
	return verify->memory && verify->sums_memory ? 0 : -ENOMEM;
}

static void verify_fini(struct verify *verify)
{
	for (uint32_t i = 0; i < verify->streams_count; i++) {
		seq_set_fini(&verify->streams[i].seqs);
		seq_set_fini(&verify->streams[i].met);
	}
	expiry_fini(&verify->erasing);
	free(verify->streams);
	free(verify->tenants);
	batch_free(verify->batch);
	dict_packer_free(verify->packer);
	for (uint32_t i = 0; i < verify->dicts_count; i++)
		dict_free(verify->dicts[i].dict);
	free(verify->dicts);
	detail_memory_free(verify->memory);
	sum_memory_free(verify->sums_memory);
	buf_fini(&verify->value);
	buf_fini(&verify->scratch);
	kv_free(verify->kv);
}

/* 0 with no kv: what is wrong with the database was told of. */
static int verify_open(struct verify *verify, char *ret_error, size_t error_bytes)
{
	const char *path = verify->options->path;
	struct kv_options options = {
		.path = path,
		.block_cache_bytes = VERIFY_BLOCK_CACHE_BYTES,
		.memtables_bytes = VERIFY_MEMTABLES_BYTES,
	};
	struct verify_place place = { .family = "database" };
	struct stat status;
	char text[512] = "";
	bool is_whole = true;
	if (stat(path, &status) < 0) {
		int r = -errno;
		snprintf(ret_error, error_bytes, "%s: cannot be looked at: %s", path, strerror(-r));
		return r;
	}
	verify_put_text(&place, path, strlen(path));
	int r = kv_open_reader(options, &verify->kv, &is_whole, text, sizeof(text));
	switch (r) {
	case 0:
		return is_whole ? 0 : verify_damage(verify, &place, VERIFY_NOT_OPENED, "%s", text);
	case -EBUSY:
		snprintf(ret_error, error_bytes,
		        "%s: is in use by another process: stop that one, or verify a backup of it",
		        path);
		return r;
	case -ENOENT:
		snprintf(ret_error, error_bytes,
		        "%s: holds no store, for it has no file CURRENT: name the folder that "
		        "profleet-aggregator has as --data, or its backup's folder store",
		        path);
		return r;
	case -ENOMEM:
	case -EACCES:
		snprintf(ret_error, error_bytes, "%s: cannot be opened (%s)", path, text);
		return r;
	default:
		return verify_damage(verify, &place, VERIFY_NOTHING_READ, "%s", text);
	}
}

static int verify_run(struct verify *verify, char *ret_error, size_t error_bytes)
{
	int r = verify_init(verify);
	r = r < 0 ? r : verify_open(verify, ret_error, error_bytes);
	if (r < 0 || !verify->kv)
		return r;
	r = verify_format(verify, ret_error, error_bytes);
	r = r < 0 ? r : verify_dict(verify);
	r = r < 0 ? r : verify_streams(verify);
	r = r < 0 ? r : verify_counters(verify);
	r = r < 0 ? r : verify_batches(verify);
	r = r < 0 ? r : verify_expiry(verify);
	r = r < 0 ? r : verify_windows(verify);
	r = r < 0 ? r : verify_totals(verify);
	r = r < 0 ? r : verify_agents(verify);
	r = r < 0 ? r : verify_admin(verify);
	return r < 0 ? r : verify_symbols(verify);
}

int store_verify(const struct store_verify_options *options,
        struct store_verify_summary *ret_summary, char *ret_error, size_t error_bytes)
{
	struct verify verify = { .options = options };
	snprintf(ret_error, error_bytes, "%s: verifying was ended", options->path);
	int r = verify_run(&verify, ret_error, error_bytes);
	if (r == -ENOMEM)
		snprintf(ret_error, error_bytes, "%s: out of memory", options->path);
	*ret_summary = verify.summary;
	verify_fini(&verify);
	return r < 0 ? r : 0;
}
