/*
 * pprof files: what is read and written again says the same, and what cannot be kept is refused or
 * reported.
 *
 * The files are made and the results are read here by protobuf-c and zlib directly, as whole
 * messages: another way than pprof.c goes. Two profiles are compared as text, one line per sample
 * with all that its stack says written out, so that numbering and order of tables do not count.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zlib.h>

#include "profile/pprof.h"
#include "profile/profile.pb-c.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/random_profile.h"

/* ---- Making files: messages are appended as they are made, in any order ---- */

struct maker {
	struct buf bytes;
	int64_t strings;
};

static void maker_fini(struct maker *maker)
{
	buf_fini(&maker->bytes);
}

#define MAKER(name) __attribute__((cleanup(maker_fini))) struct maker name = maker_new()

static void put_message(struct maker *maker, uint32_t number, const ProtobufCMessage *message)
{
	uint8_t bytes[65536];
	size_t count = protobuf_c_message_get_packed_size(message);

	CHECK(count <= sizeof(bytes));
	protobuf_c_message_pack(message, bytes);
	buf_put_varint(&maker->bytes, number << 3 | 2);
	buf_put_string(&maker->bytes, (char *)bytes, count);
}

static void put_number(struct maker *maker, uint32_t number, uint64_t value)
{
	buf_put_varint(&maker->bytes, number << 3);
	buf_put_varint(&maker->bytes, value);
}

static int64_t text_of(struct maker *maker, const char *text, size_t count)
{
	buf_put_varint(&maker->bytes, 6 << 3 | 2);
	buf_put_string(&maker->bytes, text, count);
	return maker->strings++;
}

/* A new place in the table each time but for the empty text: nobody said that texts are distinct.
 */
static int64_t text(struct maker *maker, const char *words)
{
	return words && *words ? text_of(maker, words, strlen(words)) : 0;
}

static struct maker maker_new(void)
{
	struct maker maker = { 0 };

	text_of(&maker, "", 0);
	return maker;
}

static void type(struct maker *maker, const char *name, const char *unit)
{
	Pprof__ValueType message = PPROF__VALUE_TYPE__INIT;

	message.type = text(maker, name);
	message.unit = text(maker, unit);
	put_message(maker, 1, &message.base);
}

static void period(struct maker *maker, const char *name, const char *unit, int64_t value)
{
	Pprof__ValueType message = PPROF__VALUE_TYPE__INIT;

	message.type = text(maker, name);
	message.unit = text(maker, unit);
	put_message(maker, 11, &message.base);
	put_number(maker, 12, (uint64_t)value);
}

static void mapping(struct maker *maker, uint64_t id, const char *file, const char *build_id,
        uint64_t start, uint64_t limit, uint64_t offset, uint32_t flags)
{
	Pprof__Mapping message = PPROF__MAPPING__INIT;

	message.id = id;
	message.memory_start = start;
	message.memory_limit = limit;
	message.file_offset = offset;
	message.filename = text(maker, file);
	message.build_id = text(maker, build_id);
	message.has_functions = flags & 1 ? 1 : 0;
	message.has_filenames = flags & 2 ? 1 : 0;
	message.has_line_numbers = flags & 4 ? 1 : 0;
	message.has_inline_frames = flags & 8 ? 1 : 0;
	put_message(maker, 3, &message.base);
}

static void function(struct maker *maker, uint64_t id, const char *name, const char *system_name,
        const char *file, int64_t start_line)
{
	Pprof__Function message = PPROF__FUNCTION__INIT;

	message.id = id;
	message.name = text(maker, name);
	message.system_name = text(maker, system_name);
	message.filename = text(maker, file);
	message.start_line = start_line;
	put_message(maker, 5, &message.base);
}

struct made_line {
	uint64_t function;
	int64_t line, column;
};

static void location(struct maker *maker, uint64_t id, uint64_t mapping_id, uint64_t address,
        bool is_folded, const struct made_line *lines, size_t count)
{
	Pprof__Location message = PPROF__LOCATION__INIT;
	Pprof__Line made[8];
	Pprof__Line *pointers[8];

	message.id = id;
	message.mapping_id = mapping_id;
	message.address = address;
	message.is_folded = is_folded;
	for (size_t i = 0; i < count; i++) {
		pprof__line__init(&made[i]);
		made[i].function_id = lines[i].function;
		made[i].line = lines[i].line;
		made[i].column = lines[i].column;
		pointers[i] = &made[i];
	}
	message.n_line = count;
	message.line = pointers;
	put_message(maker, 4, &message.base);
}

/* A location of one line, and its function, under one id. */
static void place(struct maker *maker, uint64_t id, const char *name)
{
	function(maker, id, name, NULL, NULL, 0);
	location(maker, id, 0, 0, false, &(struct made_line){ .function = id }, 1);
}

struct made_label {
	const char *key;
	const char *str; /* NULL: a number */
	int64_t num;
	const char *unit;
};

static void sample_with(struct maker *maker, const uint64_t *locations, size_t locations_count,
        const int64_t *values, size_t values_count, const struct made_label *labels, size_t count)
{
	Pprof__Sample message = PPROF__SAMPLE__INIT;
	Pprof__Label made[DICT_LABELS_MAX + 1];
	Pprof__Label *pointers[DICT_LABELS_MAX + 1];

	message.n_location_id = locations_count;
	message.location_id = (uint64_t *)(uintptr_t)locations;
	message.n_value = values_count;
	message.value = (int64_t *)(uintptr_t)values;
	for (size_t i = 0; i < count; i++) {
		pprof__label__init(&made[i]);
		made[i].key = text(maker, labels[i].key);
		made[i].str = text(maker, labels[i].str);
		made[i].num = labels[i].num;
		made[i].num_unit = text(maker, labels[i].unit);
		pointers[i] = &made[i];
	}
	message.n_label = count;
	message.label = pointers;
	put_message(maker, 2, &message.base);
}

#define IDS(...)    (const uint64_t[]){ __VA_ARGS__ }, COUNT_OF(((const uint64_t[]){ __VA_ARGS__ }))
#define VALUES(...) (const int64_t[]){ __VA_ARGS__ }, COUNT_OF(((const int64_t[]){ __VA_ARGS__ }))
#define LABELS(...)                                                                                \
	(const struct made_label[]){ __VA_ARGS__ },                                                \
	        COUNT_OF(((const struct made_label[]){ __VA_ARGS__ }))
#define LINES(...)                                                                                 \
	(const struct made_line[]){ __VA_ARGS__ },                                                 \
	        COUNT_OF(((const struct made_line[]){ __VA_ARGS__ }))

/* ---- Saying what a profile says ---- */

static void gunzip(const struct buf *from, struct buf *to)
{
	z_stream stream = { .next_in = from->bytes, .avail_in = (uInt)from->count };
	int result = Z_OK;

	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	while (result == Z_OK) {
		uint8_t *room = buf_reserve(to, 65536);
		CHECK(room);
		stream.next_out = room;
		stream.avail_out = 65536;
		result = inflate(&stream, Z_NO_FLUSH);
		to->count += 65536 - stream.avail_out;
	}
	assert_int_equal(result, Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	inflateEnd(&stream);
}

static void gzip(const struct buf *from, struct buf *to)
{
	z_stream stream = { .next_in = from->bytes, .avail_in = (uInt)from->count };
	uint8_t *room = buf_reserve(to, from->count + 1024);

	CHECK(room);
	stream.next_out = room;
	stream.avail_out = (uInt)from->count + 1024;
	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, 0), Z_OK);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	to->count += from->count + 1024 - stream.avail_out;
	deflateEnd(&stream);
}

/* protobuf-c hands out C strings, so texts end at a zero here. Told apart by their length below. */
static const char *said(const Pprof__Profile *profile, int64_t place_of)
{
	CHECK(place_of == 0 || (place_of > 0 && (size_t)place_of < profile->n_string_table));
	return profile->n_string_table ? profile->string_table[place_of] : "";
}

static void say_location(const Pprof__Profile *profile, uint64_t id, struct buf *to)
{
	const Pprof__Location *found = NULL;

	for (size_t i = 0; i < profile->n_location; i++)
		if (profile->location[i]->id == id)
			found = profile->location[i];
	CHECK(found);
	buf_printf(to, " [");
	for (size_t i = 0; i < profile->n_mapping; i++) {
		const Pprof__Mapping *m = profile->mapping[i];
		if (m->id == found->mapping_id)
			buf_printf(to, "%s %s %" PRIx64 "-%" PRIx64 "+%" PRIx64 " %d%d%d%d",
			        said(profile, m->filename), said(profile, m->build_id),
			        m->memory_start, m->memory_limit, m->file_offset, m->has_functions,
			        m->has_filenames, m->has_line_numbers, m->has_inline_frames);
	}
	buf_printf(to, " @%" PRIx64 "%s", found->address, found->is_folded ? " folded" : "");
	for (size_t i = 0; i < found->n_line; i++) {
		const Pprof__Line *line = found->line[i];
		bool is_found = line->function_id == 0;

		buf_printf(to, " <");
		for (size_t j = 0; j < profile->n_function; j++) {
			const Pprof__Function *f = profile->function[j];
			if (f->id != line->function_id)
				continue;
			is_found = true;
			buf_printf(to, "%s %s %s %" PRId64, said(profile, f->name),
			        said(profile, f->system_name), said(profile, f->filename),
			        f->start_line);
		}
		CHECK(is_found);
		buf_printf(to, ":%" PRId64 ":%" PRId64 ">", line->line, line->column);
	}
	buf_printf(to, "]");
}

struct said_sample {
	char *text; /* stack and labels */
	int64_t values[8];
};

static int compare_said(const void *left, const void *right)
{
	return strcmp(((const struct said_sample *)left)->text,
	        ((const struct said_sample *)right)->text);
}

static const Pprof__Profile *said_profile; /* what compare_labels() looks texts up in */

static int compare_labels(const void *left, const void *right)
{
	const Pprof__Label *a = *(Pprof__Label *const *)left;
	const Pprof__Label *b = *(Pprof__Label *const *)right;
	int order = strcmp(said(said_profile, a->key), said(said_profile, b->key));

	/* Several values of a key keep their order: qsort() of glibc is stable for few. */
	return order ? order : (a->str != 0) - (b->str != 0);
}

static void say_head(const Pprof__Profile *profile, struct buf *to)
{
	for (size_t i = 0; i < profile->n_sample_type; i++)
		buf_printf(to, "%s/%s ", said(profile, profile->sample_type[i]->type),
		        said(profile, profile->sample_type[i]->unit));
	buf_printf(to, "at %" PRId64 " for %" PRId64, profile->time_nanos, profile->duration_nanos);
	if (profile->period > 1 && profile->period_type)
		buf_printf(to, " every %" PRId64 " %s/%s", profile->period,
		        said(profile, profile->period_type->type),
		        said(profile, profile->period_type->unit));
	buf_printf(to, "\n");
}

/* Its stack and its labels, sorted. */
static char *say_sample(const Pprof__Profile *profile, const Pprof__Sample *sample)
{
	AUTO_BUF line = { 0 };
	size_t count;

	for (size_t j = 0; j < sample->n_location_id; j++)
		say_location(profile, sample->location_id[j], &line);
	if (sample->n_label > 0)
		qsort(sample->label, sample->n_label, sizeof(Pprof__Label *), compare_labels);
	for (size_t j = 0; j < sample->n_label; j++) {
		const Pprof__Label *label = sample->label[j];
		if (label->str)
			buf_printf(&line, " {%s=\"%s\"}", said(profile, label->key),
			        said(profile, label->str));
		else
			buf_printf(&line, " {%s=%" PRId64 " %s}", said(profile, label->key),
			        label->num, said(profile, label->num_unit));
	}
	buf_put_u8(&line, 0);
	return (char *)buf_take(&line, &count);
}

/* One line for the head, then one per sample, equal stacks added up, zero samples left out. */
static char *say(const struct buf *bytes)
{
	Pprof__Profile *profile = pprof__profile__unpack(NULL, bytes->count, bytes->bytes);
	AUTO_BUF to = { 0 };

	CHECK(profile);
	assert_int_equal(profile->base.n_unknown_fields, 0);
	said_profile = profile;
	say_head(profile, &to);

	struct said_sample *samples = calloc(profile->n_sample + 1, sizeof(*samples));
	size_t kept = 0;
	CHECK(samples);
	for (size_t i = 0; i < profile->n_sample; i++) {
		const Pprof__Sample *s = profile->sample[i];

		CHECK(s->n_value <= 8);
		for (size_t j = 0; j < s->n_value; j++)
			samples[i].values[j] = s->value[j];
		samples[i].text = say_sample(profile, s);
	}
	qsort(samples, profile->n_sample, sizeof(*samples), compare_said);
	for (size_t i = 1; i < profile->n_sample; i++) {
		if (strcmp(samples[i].text, samples[kept].text) != 0) {
			kept = i;
			continue;
		}
		for (size_t j = 0; j < profile->n_sample_type; j++) {
			samples[kept].values[j] += samples[i].values[j];
			samples[i].values[j] = 0;
		}
	}
	for (size_t i = 0; i < profile->n_sample; i++) {
		bool is_zero = true;

		for (size_t j = 0; j < profile->n_sample_type; j++)
			is_zero = is_zero && samples[i].values[j] == 0;
		if (!is_zero) {
			for (size_t j = 0; j < profile->n_sample_type; j++)
				buf_printf(&to, "%" PRId64 " ", samples[i].values[j]);
			buf_printf(&to, "%s\n", samples[i].text);
		}
		free(samples[i].text);
	}
	free(samples);
	pprof__profile__free_unpacked(profile, NULL);
	buf_put_u8(&to, 0);
	size_t count;
	return (char *)buf_take(&to, &count);
}

/* Reads `bytes`, writes them again, and leaves the unpacked message in `to`. */
static void there_and_back(const struct buf *bytes, struct pprof_report *report, struct buf *to)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF written = { 0 };
	struct parse_error error = { 0 };

	int result = pprof_parse(
	        bytes->bytes, bytes->count, (struct pprof_options){ 0 }, batch, report, &error);
	if (result < 0)
		fail_msg("%d: %s", result, error.text);
	CHECK_OK(batch_settle(batch));
	batch->start_ns = report->time_unix_ns;
	batch->duration_ns = report->duration_ns;
	CHECK_OK(pprof_write(batch, frame_name_plain, &written));
	gunzip(&written, to);
}

/* ---- The profiles ---- */

static void make_empty(struct maker *maker)
{
	buf_reset(&maker->bytes);
}

static void make_no_samples(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	type(maker, "samples", "count");
	put_number(maker, 9, 1700000000000000000);
	put_number(maker, 10, 10000000000);
}

static void make_one_sample(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	place(maker, 1, "main");
	sample_with(maker, IDS(1), VALUES(5), NULL, 0);
}

static void make_recursion(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	place(maker, 1, "a");
	place(maker, 2, "b");
	sample_with(maker, IDS(1, 1, 1, 2, 1), VALUES(5), NULL, 0);
	sample_with(maker, IDS(1, 1), VALUES(7), NULL, 0);
	sample_with(maker, IDS(1), VALUES(9), NULL, 0);
}

static void make_500_frames(struct maker *maker)
{
	uint64_t locations[500];

	type(maker, "cpu", "nanoseconds");
	for (uint64_t i = 1; i <= 7; i++) {
		char name[16];
		snprintf(name, sizeof(name), "frame_%" PRIu64, i);
		place(maker, i, name);
	}
	for (size_t i = 0; i < COUNT_OF(locations); i++)
		locations[i] = 1 + i * 3 % 7;
	sample_with(maker, locations, 500, VALUES(5), NULL, 0);
	sample_with(maker, locations, 499, VALUES(6), NULL, 0);
	sample_with(maker, locations + 1, 499, VALUES(7), NULL, 0);
}

static void make_odd_names(struct maker *maker)
{
	static const char *const names[] = { "a;b;;", "two words ", " \t ", "größe 日本語 😀",
		"\x1b[31mred\x07\r\n", "<script>alert(\"1\")</script>&amp;", "\xff\xfe", "",
		"# comment", "%s%n" };

	type(maker, "cpu", "nanoseconds");
	for (uint64_t i = 1; i <= COUNT_OF(names); i++) {
		place(maker, i, names[i - 1]);
		sample_with(maker, IDS(i, 1), VALUES((int64_t)i), NULL, 0);
	}
}

static void make_several_types(struct maker *maker)
{
	type(maker, "alloc_objects", "count");
	type(maker, "alloc_space", "bytes");
	type(maker, "inuse_objects", "count");
	type(maker, "inuse_space", "bytes");
	place(maker, 1, "a");
	place(maker, 2, "b");
	/* The first type has no value in the first sample, the third never has one. */
	sample_with(maker, IDS(1), VALUES(0, 17, 0, INT64_MAX), NULL, 0);
	sample_with(maker, IDS(2, 1), VALUES(3, 0, 0, 0), NULL, 0);
	sample_with(maker, IDS(2), VALUES(0, 0, 0, 0), NULL, 0);
	sample_with(maker, IDS(2, 1), VALUES(4, 1, 0, 0), NULL, 0);
}

static void make_period(struct maker *maker)
{
	type(maker, "samples", "count");
	type(maker, "cpu", "nanoseconds");
	period(maker, "cpu", "nanoseconds", 10000000);
	place(maker, 1, "a");
	place(maker, 2, "b");
	sample_with(maker, IDS(1), VALUES(3, 30000000), NULL, 0);
	sample_with(maker, IDS(2), VALUES(1, 10000000), LABELS({ .key = "k", .str = "v" }));
}

static void make_addresses(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	mapping(maker, 1, "/usr/bin/app", "0123abcd", 0x400000, 0x500000, 0x1000, 0);
	mapping(maker, 2, "[vdso]", NULL, 0x7fff0000, 0x7fff2000, 0, 15);
	location(maker, 1, 1, 0x400123, false, NULL, 0);
	location(maker, 2, 2, 0x7fff0010, false, NULL, 0);
	location(maker, 3, 0, 0xdead, false, NULL, 0); /* no mapping */
	location(maker, 4, 1, 0, false, NULL, 0);      /* no address */
	location(maker, 5, 0, 0, false, NULL, 0);      /* nothing at all */
	location(maker, 6, 1, UINT64_MAX, true, NULL, 0);
	sample_with(maker, IDS(1, 2, 3), VALUES(1), NULL, 0);
	sample_with(maker, IDS(3, 4, 5, 6), VALUES(2), NULL, 0);
	sample_with(maker, IDS(5), VALUES(3), NULL, 0);
	sample_with(maker, NULL, 0, VALUES(4), NULL, 0); /* no stack */
}

static void make_inlined(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	mapping(maker, 9, "app", "b1", 0x1000, 0x9000, 0, 5);
	function(maker, 1, "inner", "_Z5innerv", "inner.cc", 10);
	function(maker, 2, "middle", "_Z6middlev", "middle.cc", 20);
	function(maker, 3, "outer", NULL, "outer.cc", 30);
	location(maker, 1, 9, 0x1010, false, LINES({ 1, 11, 5 }, { 2, 21, 6 }, { 3, 31, 7 }));
	location(maker, 2, 9, 0x1010, true, LINES({ 1, 11, 5 }, { 3, 31, 7 }));
	/* The same two functions, one inlined at the same address, or two locations. */
	location(maker, 3, 9, 0x1010, false, LINES({ 1, 11, 5 }, { 2, 21, 6 }));
	location(maker, 4, 9, 0x1010, false, LINES({ 1, 11, 5 }));
	location(maker, 5, 9, 0x1010, false, LINES({ 2, 21, 6 }));
	location(maker, 6, 9, 0x1020, false, LINES({ 2, -21, -6 }));
	sample_with(maker, IDS(1, 6), VALUES(1), NULL, 0);
	sample_with(maker, IDS(2, 1, 1), VALUES(2), NULL, 0);
	sample_with(maker, IDS(3), VALUES(4), NULL, 0);
	sample_with(maker, IDS(4, 5), VALUES(8), NULL, 0);
	sample_with(maker, IDS(3, 4, 5), VALUES(16), NULL, 0);
}

static void make_labels(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	type(maker, "samples", "count");
	place(maker, 1, "a");
	sample_with(maker, IDS(1), VALUES(1, 1), NULL, 0);
	sample_with(maker, IDS(1), VALUES(2, 1), LABELS({ .key = "thread", .str = "main" }));
	sample_with(maker, IDS(1), VALUES(4, 0),
	        LABELS({ .key = "bytes", .num = 4096, .unit = "bytes" },
	                { .key = "thread", .str = "x" }));
	sample_with(maker, IDS(1), VALUES(8, 1),
	        LABELS({ .key = "n", .num = INT64_MIN },
	                { .key = "n", .num = INT64_MAX, .unit = "k.b" }, { .key = "n", .num = 0 },
	                { .key = "n", .str = "text beside a number" }));
	sample_with(maker, IDS(1), VALUES(16, 1),
	        LABELS({ .key = "k", .str = "z" }, { .key = "k", .str = "a" },
	                { .key = "k", .str = "z" }));
	sample_with(maker, IDS(1), VALUES(32, 1),
	        LABELS({ .key = "k", .str = "a" }, { .key = "k", .str = "z" },
	                { .key = "k", .str = "z" }));
	/* Keys and units that would read as something else. */
	sample_with(maker, IDS(1), VALUES(64, 1),
	        LABELS({ .key = "k#2", .str = "v" }, { .key = "100%", .str = "v" },
	                { .key = "%23", .str = "v" }, { .key = "a.b", .num = 1, .unit = "c" },
	                { .key = "a", .num = 1, .unit = "b.c" }, { .key = "", .str = "no key" },
	                { .key = "x", .num = 7, .unit = "#2%2E" }));
	sample_with(maker, IDS(1), VALUES(128, 1),
	        LABELS({ .key = "ключ;\x1b[0m", .str = "<b>\n \xff" }));
}

static void make_many_values_of_one_key(struct maker *maker)
{
	struct made_label labels[DICT_LABELS_MAX];
	char values[DICT_LABELS_MAX][8];

	type(maker, "cpu", "nanoseconds");
	place(maker, 1, "a");
	for (size_t i = 0; i < DICT_LABELS_MAX; i++) {
		snprintf(values[i], sizeof(values[i]), "%zu", i * 37 % 64);
		labels[i] = (struct made_label){ .key = "k", .str = values[i] };
	}
	sample_with(maker, IDS(1), VALUES(1), labels, DICT_LABELS_MAX);
}

static void make_sparse_ids(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	/* Ids in no order, and samples before what they speak of. */
	sample_with(maker, IDS(UINT64_MAX, 77), VALUES(5), NULL, 0);
	location(maker, 77, 1000, 0x10, false, LINES({ 500, 1, 0 }));
	location(maker, UINT64_MAX, 3, 0x20, false, LINES({ UINT64_MAX, 2, 0 }));
	function(maker, UINT64_MAX, "last", NULL, NULL, 0);
	function(maker, 500, "five hundred", NULL, NULL, -3);
	mapping(maker, 1000, "thousand", NULL, 0, 0, 0, 1);
	mapping(maker, 3, "three", NULL, 0, 0, 0, 2);
}

static void make_line_without_function(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	function(maker, 1, "", NULL, NULL, 0);
	location(maker, 1, 0, 0x10, false, LINES({ 1, 33, 0 }));
	sample_with(maker, IDS(1), VALUES(5), NULL, 0);
}

static const struct {
	const char *what;
	void (*make)(struct maker *maker);
	uint32_t notes;
} profiles[] = {
	{ "empty", make_empty, 0 },
	{ "no samples", make_no_samples, 1 },
	{ "one sample", make_one_sample, 0 },
	{ "recursion", make_recursion, 0 },
	{ "500 frames", make_500_frames, 0 },
	{ "odd names", make_odd_names, 0 },
	{ "several types", make_several_types, 2 },
	{ "period", make_period, 0 },
	{ "addresses", make_addresses, 0 },
	{ "inlined", make_inlined, 0 },
	{ "labels", make_labels, 0 },
	{ "many values of one key", make_many_values_of_one_key, 0 },
	{ "sparse ids", make_sparse_ids, 0 },
	{ "line without function", make_line_without_function, 0 },
};

static void reading_and_writing_again_is_the_identity(void **state)
{
	for (size_t i = 0; i < COUNT_OF(profiles); i++) {
		MAKER(maker);
		AUTO_BUF out = { 0 };
		AUTO_BUF packed = { 0 };
		AUTO_BUF again = { 0 };
		struct pprof_report report = { 0 };

		print_message("%s\n", profiles[i].what);
		profiles[i].make(&maker);
		char *in_says = say(&maker.bytes);
		there_and_back(&maker.bytes, &report, &out);
		char *out_says = say(&out);
		assert_string_equal(out_says, in_says);
		assert_int_equal(report.notes_count, profiles[i].notes);

		/* Packed it is the same. */
		gzip(&maker.bytes, &packed);
		there_and_back(&packed, &report, &again);
		assert_int_equal(again.count, out.count);
		CHECK(out.count == 0 || memcmp(again.bytes, out.bytes, out.count) == 0);
		free(in_says);
		free(out_says);
	}
}

static void a_zero_byte_inside_a_text_survives(void **state)
{
	MAKER(maker);
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF written = { 0 };
	AUTO_BUF out = { 0 };
	struct pprof_report report;
	struct parse_error error;
	Pprof__Function message = PPROF__FUNCTION__INIT;

	type(&maker, "cpu", "nanoseconds");
	message.id = 1;
	message.name = text_of(&maker, "a\0b", 3);
	put_message(&maker, 5, &message.base);
	location(&maker, 1, 0, 0, false, LINES({ .function = 1 }));
	sample_with(&maker, IDS(1), VALUES(1), NULL, 0);
	CHECK_OK(pprof_parse(maker.bytes.bytes, maker.bytes.count, (struct pprof_options){ 0 },
	        batch, &report, &error));
	assert_int_not_equal(dict_find_string(dict, "a\0b", 3), ID_NONE);
	CHECK_OK(pprof_write(batch, frame_name_plain, &written));
	gunzip(&written, &out);
	CHECK(memmem(out.bytes, out.count,
	        "\x32\x03"
	        "a\0b",
	        5));
}

/* ---- Refusals ---- */

static void bad_negative(struct maker *maker)
{
	make_one_sample(maker);
	sample_with(maker, IDS(1), VALUES(-5), NULL, 0);
}

static void bad_profile_field(struct maker *maker)
{
	make_one_sample(maker);
	put_number(maker, 99, 1);
}

static void bad_wire_type(struct maker *maker)
{
	make_one_sample(maker);
	put_number(maker, 2, 1);
}

static void put_raw(struct maker *maker, uint32_t number, const char *bytes, size_t count)
{
	buf_put_varint(&maker->bytes, number << 3 | 2);
	buf_put_string(&maker->bytes, bytes, count);
}

static void bad_value_type_field(struct maker *maker)
{
	put_raw(maker, 1, "\x38\x01", 2);
}

static void bad_sample_field(struct maker *maker)
{
	make_one_sample(maker);
	put_raw(maker, 2, "\x0a\x01\x01\x12\x01\x05\x38\x01", 8);
}

static void bad_label_field(struct maker *maker)
{
	make_one_sample(maker);
	put_raw(maker, 2, "\x0a\x01\x01\x12\x01\x05\x1a\x02\x38\x01", 10);
}

static void bad_mapping_field(struct maker *maker)
{
	put_raw(maker, 3, "\x08\x01\x78\x01", 4);
}

static void bad_location_field(struct maker *maker)
{
	put_raw(maker, 4, "\x08\x01\x78\x01", 4);
}

static void bad_line_field(struct maker *maker)
{
	put_raw(maker, 4, "\x08\x01\x22\x02\x78\x01", 6);
}

static void bad_function_field(struct maker *maker)
{
	put_raw(maker, 5, "\x08\x01\x78\x01", 4);
}

static void bad_location_id(struct maker *maker)
{
	make_one_sample(maker);
	sample_with(maker, IDS(1, 2), VALUES(5), NULL, 0);
}

static void bad_location_zero(struct maker *maker)
{
	make_one_sample(maker);
	sample_with(maker, IDS(0), VALUES(5), NULL, 0);
}

static void bad_mapping_id(struct maker *maker)
{
	location(maker, 1, 4, 0x10, false, NULL, 0);
}

static void bad_function_id(struct maker *maker)
{
	location(maker, 1, 0, 0x10, false, LINES({ .function = 6 }));
}

static void bad_repeated_id(struct maker *maker)
{
	location(maker, 1, 0, 0x10, false, NULL, 0);
	location(maker, 1, 0, 0x20, false, NULL, 0);
}

static void bad_own_id(struct maker *maker)
{
	function(maker, 0, "f", NULL, NULL, 0);
}

static void bad_string(struct maker *maker)
{
	Pprof__Function message = PPROF__FUNCTION__INIT;

	message.id = 1;
	message.name = 17;
	put_message(maker, 5, &message.base);
	location(maker, 1, 0, 0, false, LINES({ .function = 1 }));
}

static void bad_negative_string(struct maker *maker)
{
	Pprof__ValueType message = PPROF__VALUE_TYPE__INIT;

	message.type = -1;
	put_message(maker, 1, &message.base);
}

static void bad_first_string(struct maker *maker)
{
	buf_reset(&maker->bytes);
	text_of(maker, "cpu", 3);
}

static void bad_values_count(struct maker *maker)
{
	make_one_sample(maker);
	sample_with(maker, IDS(1), VALUES(5, 6), NULL, 0);
}

static void bad_no_types(struct maker *maker)
{
	place(maker, 1, "a");
	sample_with(maker, IDS(1), NULL, 0, NULL, 0);
}

static void bad_equal_types(struct maker *maker)
{
	type(maker, "cpu", "nanoseconds");
	type(maker, "cpu", "count");
	type(maker, "cpu", "nanoseconds");
}

static void bad_label_of_both_kinds(struct maker *maker)
{
	make_one_sample(maker);
	sample_with(maker, IDS(1), VALUES(5), LABELS({ .key = "k", .str = "v", .num = 1 }));
}

static void bad_labels_count(struct maker *maker)
{
	struct made_label labels[DICT_LABELS_MAX + 1];

	make_one_sample(maker);
	for (size_t i = 0; i < COUNT_OF(labels); i++)
		labels[i] = (struct made_label){ .key = "k", .num = (int64_t)i };
	sample_with(maker, IDS(1), VALUES(5), labels, COUNT_OF(labels));
}

static void bad_depth(struct maker *maker)
{
	static uint64_t locations[16385];

	make_one_sample(maker);
	for (size_t i = 0; i < COUNT_OF(locations); i++)
		locations[i] = 1;
	sample_with(maker, locations, COUNT_OF(locations), VALUES(5), NULL, 0);
}

static void bad_period(struct maker *maker)
{
	make_one_sample(maker);
	period(maker, "cpu", "nanoseconds", -1);
}

static void bad_text(struct maker *maker)
{
	buf_put(&maker->bytes, "main;foo 5\n", 11);
}

static void bad_sample_bytes(struct maker *maker)
{
	make_one_sample(maker);
	put_raw(maker, 2, "\x0a\x7f\x01", 3);
}

static const struct {
	void (*make)(struct maker *maker);
	const char *error;
} refusals[] = {
	{ bad_negative,
	        "sample 1: the value -5 of type cpu is negative, and only counts can be kept" },
	{ bad_profile_field,
	        "byte 54: field 99 of the profile is not known here, so it could not be kept" },
	{ bad_wire_type, "byte 54: field 2 has the wrong kind; this is no pprof file" },
	{ bad_value_type_field,
	        "value type at byte 2: field 7 of a ValueType is not known here, so it "
	        "could not be kept" },
	{ bad_sample_field,
	        "sample 1: field 7 of a Sample is not known here, so it could not be kept" },
	{ bad_label_field,
	        "sample 1: field 7 of a Label is not known here, so it could not be kept" },
	{ bad_mapping_field,
	        "mapping 0: field 15 of a Mapping is not known here, so it could not be kept" },
	{ bad_location_field,
	        "location 0: field 15 of a Location is not known here, so it could not be kept" },
	{ bad_line_field,
	        "location 0: field 15 of a Line is not known here, so it could not be kept" },
	{ bad_function_field,
	        "function 0: field 15 of a Function is not known here, so it could not be kept" },
	{ bad_location_id, "sample 1: there is no location 2" },
	{ bad_location_zero, "sample 1: there is no location 0" },
	{ bad_mapping_id, "location 0: there is no mapping 4" },
	{ bad_function_id, "location 0: there is no function 6" },
	{ bad_repeated_id, "two of the locations have the id 1" },
	{ bad_own_id, "function 0 has the id 0, which means none" },
	{ bad_string, "function 0: string 17 is not in the string table of 1" },
	{ bad_negative_string, "sample type 0: string -1 is not in the string table of 1" },
	{ bad_first_string, "string 0 is not empty, as it has to be" },
	{ bad_values_count, "sample 1 has 2 values for 1 sample types" },
	{ bad_no_types, "sample 0 has 0 values for 0 sample types" },
	{ bad_equal_types, "sample types 0 and 2 are both called cpu in nanoseconds" },
	{ bad_label_of_both_kinds, "sample 1: a label is both a text and a number" },
	{ bad_labels_count, "sample 1 has 65 labels, and its series 0 more: 64 fit" },
	{ bad_depth, "sample 1: its stack is deeper than 16384 frames" },
	{ bad_period, "the period -1 is negative" },
	{ bad_text, "byte 2: field 13 has the wrong kind; this is no pprof file" },
	{ bad_sample_bytes, "sample 1 is broken" },
};

static void what_cannot_be_kept_is_refused_with_its_place(void **state)
{
	for (size_t i = 0; i < COUNT_OF(refusals); i++) {
		MAKER(maker);
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		struct pprof_report report = { .samples = 42 };
		struct parse_error error = { 0 };

		refusals[i].make(&maker);
		int result = pprof_parse(maker.bytes.bytes, maker.bytes.count,
		        (struct pprof_options){ 0 }, batch, &report, &error);
		assert_string_equal(error.text, refusals[i].error);
		assert_int_equal(result, -EBADMSG);
		assert_int_equal(report.samples, 42);
	}
}

/* A refusal is an end: no prefix of a file reads past it, whatever it is taken for. */
static void a_file_cut_anywhere_is_refused_or_is_a_shorter_file(void **state)
{
	MAKER(maker);
	AUTO_BUF packed = { 0 };
	uint32_t refused = 0;

	make_inlined(&maker);
	gzip(&maker.bytes, &packed);
	for (size_t count = 0; count < maker.bytes.count; count++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		struct pprof_report report;
		struct parse_error error;
		char *cut = malloc(count + 1); /* so that ASan sees the byte behind it */

		CHECK(cut);
		memcpy(cut, maker.bytes.bytes, count);
		refused += pprof_parse(cut, count, (struct pprof_options){ 0 }, batch, &report,
		                   &error) == -EBADMSG;
		free(cut);
		if (count < packed.count && count > 1) {
			assert_int_equal(
			        pprof_parse(packed.bytes, count, (struct pprof_options){ 0 }, batch,
			                &report, &error),
			        -EBADMSG);
			assert_string_equal(error.text, "the gzip data is broken or ends early");
		}
	}
	CHECK(refused > maker.bytes.count / 2);
}

static void gzip_members_follow_each_other_and_only_zeroes_follow_them(void **state)
{
	static const struct {
		const char *behind;
		size_t count;
		int result;
	} cases[] = {
		{ "", 0, 0 },
		{ "\0\0\0", 3, 0 },
		{ "\0x", 2, -EBADMSG },
		{ "x", 1, -EBADMSG },
		{ "\x1f\x8b", 2, -EBADMSG },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		MAKER(first);
		struct maker second = { .strings = first.strings };
		AUTO_BUF packed = { 0 };
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		struct pprof_report report = { 0 };
		struct parse_error error;

		/* Half of the message in each. */
		type(&first, "cpu", "nanoseconds");
		second.strings = first.strings;
		place(&second, 1, "a");
		sample_with(&second, IDS(1), VALUES(5), NULL, 0);
		gzip(&first.bytes, &packed);
		gzip(&second.bytes, &packed);
		buf_put(&packed, cases[i].behind, cases[i].count);
		assert_int_equal(pprof_parse(packed.bytes, packed.count,
		                         (struct pprof_options){ 0 }, batch, &report, &error),
		        cases[i].result);
		assert_int_equal(report.samples, cases[i].result == 0 ? 1 : 0);
		maker_fini(&second);
	}
}

/* ---- Notes, periods, options ---- */

static void note_fields(struct maker *maker)
{
	make_one_sample(maker);
	put_number(maker, 7, 1);
	put_number(maker, 8, 1);
	put_number(maker, 13, 1);
	put_raw(maker, 13, "\x01\x02", 2);
	put_number(maker, 14, 1);
	put_number(maker, 15, 1);
}

static void note_zero_samples(struct maker *maker)
{
	make_one_sample(maker);
	sample_with(maker, IDS(1), VALUES(0), NULL, 0);
}

static void note_unused(struct maker *maker)
{
	make_one_sample(maker);
	mapping(maker, 1, "m", NULL, 0, 0, 0, 0);
	place(maker, 2, "b");
	function(maker, 3, "c", NULL, NULL, 0);
}

static void note_period_no_multiple(struct maker *maker)
{
	make_one_sample(maker);
	period(maker, "cpu", "nanoseconds", 10);
}

static void note_period_of_another_type(struct maker *maker)
{
	make_one_sample(maker);
	period(maker, "space", "bytes", 524288);
}

static void note_empty_label(struct maker *maker)
{
	Pprof__Sample message = PPROF__SAMPLE__INIT;
	Pprof__Label label = PPROF__LABEL__INIT;
	Pprof__Label *labels[] = { &label };

	make_one_sample(maker);
	label.key = text(maker, "k");
	label.str = text_of(maker, "", 0);
	message.n_value = 1;
	message.value = (int64_t[]){ 5 };
	message.n_label = 1;
	message.label = labels;
	put_message(maker, 2, &message.base);
}

static void note_negative_time(struct maker *maker)
{
	make_one_sample(maker);
	put_number(maker, 9, (uint64_t)-6795364578871345152);
}

static void note_period_of_one(struct maker *maker)
{
	make_one_sample(maker);
	period(maker, "cpu", "nanoseconds", 1);
}

static void note_empty_mapping(struct maker *maker)
{
	Pprof__Location message = PPROF__LOCATION__INIT;

	make_one_sample(maker);
	mapping(maker, 9, NULL, NULL, 0, 0, 0, 0);
	message.id = 77;
	message.mapping_id = 9;
	message.address = 1;
	put_message(maker, 4, &message.base);
	sample_with(maker, IDS(77), VALUES(5), NULL, 0);
}

static const struct {
	void (*make)(struct maker *maker);
	const char *note; /* NULL: none */
} notes[] = {
	{ make_one_sample, NULL },
	{ note_fields, "not kept: 3 comments drop_frames keep_frames doc_url default_sample_type" },
	{ note_period_of_one, "not kept: a period of 1" },
	{ note_empty_mapping, "not kept, because they say nothing: 1 mappings" },
	{ note_zero_samples, "1 samples have only zero values and are not kept" },
	{ note_unused,
	        "not kept, because nothing uses them: 1 mappings, 1 locations, 1 functions" },
	{ note_period_no_multiple,
	        "the period of 10 is not kept: it is not what the values of a sample "
	        "type are multiples of" },
	{ note_period_of_another_type,
	        "the period of 524288 is not kept: it is not what the values of a "
	        "sample type are multiples of" },
	{ note_empty_label, "1 labels with an empty text are not kept" },
	{ note_negative_time, "a time before 1970 or a negative duration is not kept" },
};

static void what_has_no_place_is_reported(void **state)
{
	for (size_t i = 0; i < COUNT_OF(notes); i++) {
		MAKER(maker);
		AUTO_BUF out = { 0 };
		struct pprof_report report = { 0 };

		notes[i].make(&maker);
		there_and_back(&maker.bytes, &report, &out);
		assert_int_equal(report.notes_count, notes[i].note ? 1 : 0);
		if (notes[i].note)
			assert_string_equal(report.notes[0], notes[i].note);
		assert_int_equal(report.time_unix_ns, 0);
	}
}

static void a_period_is_kept_where_every_value_is_a_multiple_of_it(void **state)
{
	static const struct {
		int64_t period;
		int64_t values[2];
		uint64_t kept, rows[2];
	} cases[] = {
		{ 10, { 30, 10 }, 10, { 3, 1 } },
		{ 10, { 30, 11 }, 1, { 30, 11 } },
		{ 10, { 30, 0 }, 10, { 3, 0 } },
		{ 1, { 30, 11 }, 1, { 30, 11 } },
		{ 0, { 30, 11 }, 1, { 30, 11 } },
		{ INT64_MAX, { INT64_MAX, 0 }, INT64_MAX, { 1, 0 } },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		MAKER(maker);
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		struct pprof_report report;
		struct parse_error error;
		uint32_t row = 0;

		type(&maker, "cpu", "nanoseconds");
		period(&maker, "cpu", "nanoseconds", cases[i].period);
		for (uint64_t j = 0; j < 2; j++) {
			place(&maker, j + 1, j ? "b" : "a");
			sample_with(&maker, IDS(j + 1), VALUES(cases[i].values[j]), NULL, 0);
		}
		CHECK_OK(pprof_parse(maker.bytes.bytes, maker.bytes.count,
		        (struct pprof_options){ 0 }, batch, &report, &error));
		for (uint32_t j = 0; j < 2; j++) {
			if (cases[i].rows[j] == 0)
				continue;
			assert_int_equal(batch->rows[row].value, cases[i].rows[j]);
			assert_int_equal(dict_get_series(dict, batch->rows[row].series)->period,
			        cases[i].kept);
			row++;
		}
		assert_int_equal(batch->rows_count, row);
	}
}

static void options_rename_the_type_and_attach_labels(void **state)
{
	static const struct {
		const char *default_type;
		const char *types; /* after the renaming, "a b" */
	} cases[] = {
		{ NULL, "samples mine" }, /* the last one, as viewers have it */
		{ "samples", "mine cpu" },
		{ "unheard", "samples mine" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		MAKER(maker);
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		struct pprof_report report;
		struct parse_error error;
		struct label label;
		char types[64] = "";

		type(&maker, "samples", "count");
		type(&maker, "cpu", "nanoseconds");
		put_number(&maker, 14, (uint64_t)text(&maker, cases[i].default_type));
		place(&maker, 1, "a");
		sample_with(&maker, IDS(1), VALUES(1, 2), LABELS({ .key = "k", .str = "v" }));
		CHECK_OK(dict_cstring(dict, "service", &label.name));
		CHECK_OK(dict_cstring(dict, "cart", &label.value));
		struct pprof_options options = {
			.type = "mine", .labels = &label, .labels_count = 1
		};
		CHECK_OK(pprof_parse(
		        maker.bytes.bytes, maker.bytes.count, options, batch, &report, &error));
		CHECK_OK(batch_settle(batch));
		assert_int_equal(batch->rows_count, 2);
		for (uint32_t j = 0; j < 2; j++) {
			uint32_t id = batch->rows[j].series;
			const struct series *series = dict_get_series(dict, id);
			const struct label *labels = dict_get_labels(dict, id);

			snprintf(types + strlen(types), sizeof(types) - strlen(types), "%s%s",
			        j ? " " : "", dict_text(dict, series->type));
			assert_int_equal(series->labels_count, 2);
			assert_string_equal(dict_text(dict, labels[0].name), "sample.k");
			assert_string_equal(dict_text(dict, labels[1].name), "service");
			assert_string_equal(dict_text(dict, labels[1].value), "cart");
		}
		assert_string_equal(types, cases[i].types);
	}
}

static void a_label_of_the_series_under_the_name_of_a_samples_label_is_refused(void **state)
{
	MAKER(maker);
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	struct pprof_report report;
	struct parse_error error;
	struct label label;

	make_one_sample(&maker);
	sample_with(&maker, IDS(1), VALUES(1), LABELS({ .key = "k", .str = "v" }));
	CHECK_OK(dict_cstring(dict, "sample.k", &label.name));
	CHECK_OK(dict_cstring(dict, "cart", &label.value));
	struct pprof_options options = { .labels = &label, .labels_count = 1 };
	assert_int_equal(
	        pprof_parse(maker.bytes.bytes, maker.bytes.count, options, batch, &report, &error),
	        -EBADMSG);
	assert_string_equal(error.text,
	        "sample 1: a text is longer than 65535 bytes, or a label is there "
	        "twice");
}

/* ---- Writing what did not come from a pprof file ---- */

/* As a demangler would: writes `_Z4workv` as `work()`. */
static const char *name_demangled(const struct dict *dict, uint32_t frame, struct buf *scratch)
{
	const char *name = frame_name_plain(dict, frame, scratch);

	if (!name || strcmp(name, "_Z4workv") != 0)
		return name;
	buf_reset(scratch);
	buf_printf(scratch, "work()");
	return (char *)scratch->bytes;
}

static void an_agents_batch_is_written_with_names_that_people_read(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	AUTO_BUF written = { 0 };
	AUTO_BUF out = { 0 };
	struct series series = { .period = 20 };
	struct module module = { 0 }, kernel = { 0 };
	struct label label;
	uint32_t modules[2], ids[4], series_id, node;

	CHECK_OK(dict_cstring(dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(dict, "nanoseconds", &series.unit));
	CHECK_OK(dict_cstring(dict, "app", &module.name));
	CHECK_OK(dict_cstring(dict, "b1", &module.build_id));
	CHECK_OK(dict_cstring(dict, "vmlinux", &kernel.name));
	CHECK_OK(dict_module(dict, &module, &modules[0]));
	CHECK_OK(dict_module(dict, &kernel, &modules[1]));
	struct frame frames[] = {
		{ .kind = FRAME_KERNEL, .module = modules[1] },
		{ .kind = FRAME_NATIVE, .module = modules[0], .address = 0x1010 },
		{ .kind = FRAME_NATIVE, .module = modules[0], .address = 0x1020 },
		{ .kind = FRAME_TRUNCATED },
	};
	CHECK_OK(dict_cstring(dict, "do_syscall_64", &frames[0].function));
	CHECK_OK(dict_cstring(dict, "_Z4workv", &frames[1].function));
	for (size_t i = 0; i < COUNT_OF(frames); i++)
		CHECK_OK(dict_frame(dict, &frames[i], &ids[i]));
	CHECK_OK(dict_stack(dict, ids, 4, &node));
	/* Two services: their samples are one, for a pprof file knows no series. */
	CHECK_OK(dict_cstring(dict, "service", &label.name));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(dict_cstring(dict, i ? "cart" : "shop", &label.value));
		CHECK_OK(dict_series(dict, &series, &label, 1, &series_id));
		CHECK_OK(batch_add_row(batch, series_id, node, 3));
	}
	batch->start_ns = 1000;
	batch->duration_ns = 500;
	CHECK_OK(pprof_write(batch, name_demangled, &written));
	gunzip(&written, &out);
	char *says = say(&out);
	assert_string_equal(says, "cpu/nanoseconds at 1000 for 500 every 20 cpu/nanoseconds\n"
	                          "120  [vmlinux  0-0+0 0000 @0 <do_syscall_64   0:0:0>]"
	                          " [app b1 0-0+0 0000 @1010 <work() _Z4workv  0:0:0>]"
	                          " [app b1 0-0+0 0000 @1020]"
	                          " [ @0 <[truncated]   0:0:0>]\n");
	free(says);
}

static void labels_that_only_look_like_a_samples_are_not_lost(void **state)
{
	static const struct {
		const char *name, *value, *says;
	} cases[] = {
		{ "sample.k", "v", "1  {k=\"v\"}\n" },
		{ "sample.", "v", "1  {=\"v\"}\n" },
		{ "samplenum.k.", "7", "1  {k=7 }\n" },
		{ "samplenum.k.u", "-7", "1  {k=-7 u}\n" },
		{ "samplenum.k", "7", "1  {samplenum.k=\"7\"}\n" },
		{ "samplenum.k.u", "7x", "1  {samplenum.k.u=\"7x\"}\n" },
		{ "samplenum.k.u", "9223372036854775808",
		        "1  {samplenum.k.u=\"9223372036854775808\"}\n" },
		{ "sample.k%2Z%", "v", "1  {k%2Z%=\"v\"}\n" },
		{ "sample.k%23", "v", "1  {k#=\"v\"}\n" },
		{ "sample.k#x", "v", "1  {k#x=\"v\"}\n" },
		{ "samples", "v", "1 \n" },
		{ "service", "v", "1 \n" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		AUTO_BUF written = { 0 };
		AUTO_BUF out = { 0 };
		struct series series = { .period = 1 };
		struct label label;
		uint32_t series_id;

		CHECK_OK(dict_cstring(dict, cases[i].name, &label.name));
		CHECK_OK(dict_cstring(dict, cases[i].value, &label.value));
		CHECK_OK(dict_series(dict, &series, &label, 1, &series_id));
		CHECK_OK(batch_add_row(batch, series_id, DICT_NODE_ROOT, 1));
		CHECK_OK(pprof_write(batch, frame_name_plain, &written));
		gunzip(&written, &out);
		char *says = say(&out);
		assert_string_equal(strchr(says, '\n') + 1, cases[i].says);
		free(says);
	}
}

static void values_past_63_bits_are_an_error_when_written(void **state)
{
	static const struct {
		uint64_t period, values[2];
	} cases[] = {
		{ 1, { (uint64_t)INT64_MAX + 1, 0 } },
		{ 2, { UINT64_MAX, 0 } },
		{ 1, { INT64_MAX, 1 } },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		AUTO_BUF written = { 0 };
		struct series series = { .period = cases[i].period };
		struct label label;
		uint32_t series_id;

		CHECK_OK(dict_cstring(dict, "service", &label.name));
		for (int j = 0; j < 2; j++) {
			CHECK_OK(dict_cstring(dict, j ? "a" : "b", &label.value));
			CHECK_OK(dict_series(dict, &series, &label, 1, &series_id));
			CHECK_OK(batch_add_row(
			        batch, series_id, DICT_NODE_ROOT, cases[i].values[j]));
		}
		assert_int_equal(pprof_write(batch, frame_name_plain, &written), -EOVERFLOW);
		assert_int_equal(written.count, 0);
	}
}

static void random_batches_keep_their_sums_and_come_back_equal_from_then_on(void **state)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		AUTO(dict) first_dict = dict_new(dict_limits_default);
		AUTO(dict) second_dict = dict_new(dict_limits_default);
		AUTO(dict) third_dict = dict_new(dict_limits_default);
		AUTO(batch) first = batch_new(first_dict);
		AUTO(batch) second = batch_new(second_dict);
		AUTO(batch) third = batch_new(third_dict);
		struct batch *batches[] = { first, second, third };
		uint64_t sums[3] = { 0, 0, 0 };

		print_message("seed %lu\n", seed);
		random_batch(batches[0], seed, seed, (uint32_t)seed * 23);
		for (int i = 0; i < 2; i++) {
			AUTO_BUF written = { 0 };
			struct pprof_report report;
			struct parse_error error;

			CHECK_OK(pprof_write(batches[i], frame_name_plain, &written));
			CHECK_OK(pprof_parse(written.bytes, written.count,
			        (struct pprof_options){ 0 }, batches[i + 1], &report, &error));
			CHECK_OK(batch_settle(batches[i + 1]));
			batches[i + 1]->start_ns = report.time_unix_ns;
			batches[i + 1]->duration_ns = report.duration_ns;
			assert_int_equal(report.notes_count, 0);
		}
		for (int i = 0; i < 3; i++)
			for (uint32_t j = 0; j < batches[i]->rows_count; j++)
				sums[i] += batches[i]->rows[j].value *
				           dict_get_series(
				                   batches[i]->dict, batches[i]->rows[j].series)
				                   ->period;
		assert_int_equal(sums[0], sums[1]);
		assert_int_equal(sums[1], sums[2]);
		CHECK(random_batches_equal(batches[1], batches[2]));
		assert_int_equal(batches[2]->start_ns, batches[0]->start_ns);
	}
}

/* ---- Go's own tool reads what we write ---- */

extern char **environ;

static int run_go_pprof(const char *option, const char *file)
{
	char *arguments[] = { (char *)"go", (char *)"tool", (char *)"pprof",
		(char *)(uintptr_t)option, (char *)(uintptr_t)file, NULL };
	posix_spawn_file_actions_t actions;
	pid_t child;
	int status = -1;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	/* It talks about binaries it would like to have. */
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	int result = posix_spawnp(&child, "go", &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (result != 0)
		return -result;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

static void the_pprof_tool_reads_what_we_write(void **state)
{
	TEST_DIR(dir);
	char path[300];

	/* Without the tool -h fails too: there is nothing to be learnt here. */
	int result = run_go_pprof("-h", "");
	if (result < 0 || result == 127) {
		print_message("skipped: no `go tool pprof` on PATH (%d)\n", result);
		skip();
	}
	for (size_t i = 0; i < COUNT_OF(profiles); i++) {
		MAKER(maker);
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		AUTO_BUF written = { 0 };
		struct pprof_report report;
		struct parse_error error;

		profiles[i].make(&maker);
		CHECK_OK(pprof_parse(maker.bytes.bytes, maker.bytes.count,
		        (struct pprof_options){ 0 }, batch, &report, &error));
		CHECK_OK(pprof_write(batch, frame_name_plain, &written));
		snprintf(path, sizeof(path), "%s/%zu.pprof", dir.path, i);
		test_file_write(path, written.bytes, written.count);
		/* An empty profile is no profile to the tool. */
		if (batch->rows_count == 0)
			continue;
		print_message("%s\n", profiles[i].what);
		assert_int_equal(run_go_pprof("-raw", path), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_and_writing_again_is_the_identity),
		cmocka_unit_test(a_zero_byte_inside_a_text_survives),
		cmocka_unit_test(what_cannot_be_kept_is_refused_with_its_place),
		cmocka_unit_test(a_file_cut_anywhere_is_refused_or_is_a_shorter_file),
		cmocka_unit_test(gzip_members_follow_each_other_and_only_zeroes_follow_them),
		cmocka_unit_test(what_has_no_place_is_reported),
		cmocka_unit_test(a_period_is_kept_where_every_value_is_a_multiple_of_it),
		cmocka_unit_test(options_rename_the_type_and_attach_labels),
		cmocka_unit_test(
		        a_label_of_the_series_under_the_name_of_a_samples_label_is_refused),
		cmocka_unit_test(an_agents_batch_is_written_with_names_that_people_read),
		cmocka_unit_test(labels_that_only_look_like_a_samples_are_not_lost),
		cmocka_unit_test(values_past_63_bits_are_an_error_when_written),
		cmocka_unit_test(random_batches_keep_their_sums_and_come_back_equal_from_then_on),
		cmocka_unit_test(the_pprof_tool_reads_what_we_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
