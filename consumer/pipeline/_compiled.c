/* The compiled table of digests. `digest_table.py` has the reference implementation, and the reason
why there is a table instead of a dict.

The table maps keys of 16 bytes to values of one width. It is a list of small segments. Each segment
is a hash table of its own, in one block of memory: its header, one byte for each slot (the tag),
and the slots. A slot holds the key and the value.

  tag        0 for an empty slot; otherwise 0x80 plus 7 bits of the hash. A search compares the tags
             of 8 slots at once, and compares a key only if its tag is equal. No key has a special
             meaning, so a key of zeros is an ordinary key.
  search     Linear probing from the home slot up to the first empty slot. A removed entry leaves
             no mark: the entries after it move back (backward-shift deletion).
  growth     A full segment moves to a block that is 6% to 25% larger. The table grows by linear
             hashing: when the segments hold more than a fixed number of entries on average, the
             next segment, in a fixed order, is split in two. So one insertion moves two segments of
             a few KiB at most, also in a table with 10 million entries.

Why the segments are small: a growing segment leaves a free block to the allocator. Small segments
differ much in size, because their numbers of entries differ by chance. So another segment soon
needs a block of that size. Large segments would all grow at the same time. They would leave free
blocks that are too small for every other segment.

The hash uses a secret that each process chooses at its start. Digests are evenly distributed, but a
producer chooses the ids, and can search for ids whose digests share some bits. Without the secret,
the entries of such ids would all be in one segment.
*/

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef __SIZEOF_INT128__
#error "this platform has no 128-bit integers: the pure-Python table is used there"
#endif

typedef unsigned char byte;

enum {
    KEY_BYTES = 16,
    MAX_VALUE_BYTES = 64,
    GROUP_SLOTS = 8, /* the number of slots whose tags are compared at once */
    MIN_SLOTS = GROUP_SLOTS,
    PREFETCH_DISTANCE = 8,
};

/* The average size of the entries of a segment, without empty slots. A test builds the module with
a smaller size. */
#ifndef SEGMENT_ENTRY_BYTES
#define SEGMENT_ENTRY_BYTES 3072
#endif

static const uint64_t LOW_BITS = 0x0101010101010101u;
static const uint64_t HIGH_BITS = 0x8080808080808080u;

static uint64_t secret[2];

typedef struct {
    uint32_t slots;
    uint32_t used;
    uint32_t limit; /* of `used`: it leaves at least one slot empty, so that every search ends */
    uint32_t entries_at;
    byte tags[]; /* of all slots; then the first 8 again, as a group can begin at the last slot */
} Segment;

typedef struct {
    PyObject_HEAD
    Segment **segments; /* NULL until the first entry */
    size_t segment_count;
    size_t segment_room;
    size_t count;
    size_t allocated_bytes;
    uint64_t changes; /* insertions and removals, so that an iterator notices them */
    uint64_t low_mask;
    uint64_t next_split;
    uint32_t value_bytes;
    uint32_t entry_bytes;
    uint32_t entries_per_segment;
} Table;

typedef struct {
    PyTypeObject *keys_type;
    PyObject *key_name;
    PyObject *value_name;
} ModuleState;

/* Memory. */

#ifdef TEST_ALLOCATION_FAILURES
static long allocations_left = -1;

static bool
may_allocate(void)
{
    if (allocations_left < 0) {
        return true;
    }
    return allocations_left-- > 0 || (allocations_left = 0, false);
}
#else
static bool
may_allocate(void)
{
    return true;
}
#endif

/* Segments. */

static inline uint64_t
hash_of(const byte *key)
{
    uint64_t halves[2];
    memcpy(halves, key, KEY_BYTES);
    unsigned __int128 product =
        (unsigned __int128)(halves[0] ^ secret[0]) * (halves[1] ^ secret[1]);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The hash has three parts, for the segment (the low bits), the tag and the slot. */

static inline byte
tag_of(uint64_t hash)
{
    return (byte)(0x80 | (hash >> 25 & 0x7f));
}

static inline uint32_t
home_slot(uint64_t hash, uint32_t slots)
{
    return (uint32_t)((hash >> 32) * slots >> 32);
}

static inline byte *
entry_at(const Table *table, const Segment *segment, uint32_t slot)
{
    return (byte *)segment + segment->entries_at + (size_t)slot * table->entry_bytes;
}

static inline uint64_t
load_group(const Segment *segment, uint32_t slot)
{
    uint64_t group;
    memcpy(&group, segment->tags + slot, sizeof group);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    group = __builtin_bswap64(group);
#endif
    return group;
}

static inline uint32_t
first_slot(uint64_t bits)
{
    return (uint32_t)__builtin_ctzll(bits) / 8;
}

static inline uint32_t
wrapped(uint32_t slot, uint32_t slots)
{
    return slot < slots ? slot : slot - slots;
}

static inline void
set_tag(Segment *segment, uint32_t slot, byte tag)
{
    segment->tags[slot] = tag;
    if (slot < GROUP_SLOTS) {
        segment->tags[segment->slots + slot] = tag;
    }
}

/* Copy a whole entry. A memcpy of a constant size is compiled without a function call. */
static inline void
copy_bytes(byte *to, const byte *from, size_t size)
{
    if (size == 2 * KEY_BYTES) { /* an id and its content */
        memcpy(to, from, 2 * KEY_BYTES);
    } else {
        memcpy(to, from, size);
    }
}

/* Return the first empty slot from the home slot on. */
static inline uint32_t
empty_slot(const Segment *segment, uint64_t hash)
{
    uint32_t slot = home_slot(hash, segment->slots);
    for (;;) {
        uint64_t empty = ~load_group(segment, slot) & HIGH_BITS;
        if (empty) {
            return wrapped(slot + first_slot(empty), segment->slots);
        }
        slot = wrapped(slot + GROUP_SLOTS, segment->slots);
    }
}

/* Return whether the segment has the key. Set `*slot` to the slot of the key, or to the slot where
the key can be inserted. */
static inline bool
find(const Table *table, const Segment *segment, const byte *key, uint64_t hash, uint32_t *slot)
{
    uint64_t wanted = tag_of(hash) * LOW_BITS;
    uint32_t at = home_slot(hash, segment->slots);
    for (;;) {
        uint64_t group = load_group(segment, at);
        uint64_t empty = ~group & HIGH_BITS;
        uint64_t difference = group ^ wanted;
        /* This also marks some unequal tags after an equal one. There the keys differ. */
        uint64_t equal = (difference - LOW_BITS) & ~difference & HIGH_BITS;
        for (; equal; equal &= equal - 1) {
            uint32_t candidate = wrapped(at + first_slot(equal), segment->slots);
            if (memcmp(entry_at(table, segment, candidate), key, KEY_BYTES) == 0) {
                *slot = candidate;
                return true;
            }
        }
        if (empty) {
            *slot = wrapped(at + first_slot(empty), segment->slots);
            return false;
        }
        at = wrapped(at + GROUP_SLOTS, segment->slots);
    }
}

static inline uint32_t
limit_of(uint32_t slots)
{
    return (uint32_t)((uint64_t)slots * 29 / 32);
}

/* Return the next number of slots: 8, 10, 12, 14, 16, 18, …, 32, 36, …, 64, 72, … */
static uint32_t
next_slots(uint32_t slots)
{
    return slots + (slots < 16 ? 2 : 1u << (28 - __builtin_clz(slots)));
}

static size_t
block_bytes(const Table *table, uint32_t slots, uint32_t *entries_at)
{
    size_t before = sizeof(Segment) + slots + GROUP_SLOTS;
    before = (before + 15) / 16 * 16; /* then no key of a 32-byte entry is in two cache lines */
    *entries_at = (uint32_t)before;
    return before + (size_t)slots * table->entry_bytes;
}

/* Return an empty segment, or NULL with MemoryError. */
static Segment *
new_segment(Table *table, uint32_t slots)
{
    uint32_t entries_at;
    size_t size = block_bytes(table, slots, &entries_at);
    Segment *segment = slots <= INT32_MAX && may_allocate() ? PyMem_Malloc(size) : NULL;
    if (segment == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    table->allocated_bytes += size;
    segment->slots = slots;
    segment->used = 0;
    segment->limit = limit_of(slots);
    segment->entries_at = entries_at;
    memset(segment->tags, 0, slots + GROUP_SLOTS);
    return segment;
}

static void
free_segment(Table *table, Segment *segment)
{
    uint32_t entries_at;
    table->allocated_bytes -= block_bytes(table, segment->slots, &entries_at);
    PyMem_Free(segment);
}

static uint32_t
slots_for(uint32_t entries)
{
    uint32_t slots = MIN_SLOTS;
    while (limit_of(slots) < entries) {
        slots = next_slots(slots);
    }
    return slots;
}

/* Copy an entry into a segment, which must have room and must not have the entry. */
static inline void
copy_entry(const Table *table, Segment *segment, const byte *entry, uint64_t hash)
{
    uint32_t slot = empty_slot(segment, hash);
    set_tag(segment, slot, tag_of(hash));
    copy_bytes(entry_at(table, segment, slot), entry, table->entry_bytes);
    segment->used++;
}

/* The table. */

static inline uint64_t
segment_number(const Table *table, uint64_t hash)
{
    uint64_t number = hash & table->low_mask;
    if (number < table->next_split) {
        number = hash & (table->low_mask << 1 | 1);
    }
    return number;
}

/* Move a full segment to a larger block. Return -1 with MemoryError; nothing has changed then. */
static int
grow_segment(Table *table, uint64_t number)
{
    Segment *old = table->segments[number];
    Segment *grown = new_segment(table, next_slots(old->slots));
    if (grown == NULL) {
        return -1;
    }
    for (uint32_t slot = 0; slot < old->slots; slot++) {
        if (old->tags[slot]) {
            const byte *entry = entry_at(table, old, slot);
            copy_entry(table, grown, entry, hash_of(entry));
        }
    }
    table->segments[number] = grown;
    free_segment(table, old);
    return 0;
}

/* Make room for one more segment in the list. Return -1 with MemoryError. */
static int
extend_list(Table *table)
{
    if (table->segment_count < table->segment_room) {
        return 0;
    }
    size_t room = table->segment_room + table->segment_room / 8 + 1;
    Segment **segments =
        may_allocate() ? PyMem_Realloc(table->segments, room * sizeof *segments) : NULL;
    if (segments == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    table->allocated_bytes += (room - table->segment_room) * sizeof *segments;
    table->segments = segments;
    table->segment_room = room;
    return 0;
}

/* Split the next segment in two: one more bit of the hash selects the entries that move.
Return -1 with MemoryError; nothing has changed then. */
static int
split_next_segment(Table *table)
{
    if (extend_list(table) < 0) {
        return -1;
    }
    Segment *old = table->segments[table->next_split];
    uint64_t bit = table->low_mask + 1;
    uint32_t moving = 0;
    for (uint32_t slot = 0; slot < old->slots; slot++) {
        if (old->tags[slot]) {
            moving += (hash_of(entry_at(table, old, slot)) & bit) != 0;
        }
    }
    /* Leave some room, so that the new segments need not grow at the next insertion. */
    uint32_t staying = old->used - moving;
    Segment *low = new_segment(table, slots_for(staying + staying / 16 + 1));
    if (low == NULL) {
        return -1;
    }
    Segment *high = new_segment(table, slots_for(moving + moving / 16 + 1));
    if (high == NULL) {
        free_segment(table, low);
        return -1;
    }
    for (uint32_t slot = 0; slot < old->slots; slot++) {
        if (old->tags[slot]) {
            const byte *entry = entry_at(table, old, slot);
            uint64_t hash = hash_of(entry);
            copy_entry(table, hash & bit ? high : low, entry, hash);
        }
    }
    table->segments[table->next_split] = low;
    table->segments[table->segment_count] = high;
    table->segment_count++;
    table->next_split++;
    if (table->next_split > table->low_mask) {
        table->next_split = 0;
        table->low_mask = table->low_mask << 1 | 1;
    }
    free_segment(table, old);
    return 0;
}

/* Make room for a key with this hash. Return -1 with MemoryError; no entry has changed then. */
static int
make_room(Table *table, uint64_t hash)
{
    if (table->segment_count == 0) {
        if (extend_list(table) < 0) {
            return -1;
        }
        Segment *first = new_segment(table, MIN_SLOTS);
        if (first == NULL) {
            return -1;
        }
        table->segments[0] = first;
        table->segment_count = 1;
    }
    if (table->count >= table->segment_count * table->entries_per_segment
        && split_next_segment(table) < 0) {
        return -1;
    }
    uint64_t number = segment_number(table, hash);
    if (table->segments[number]->used < table->segments[number]->limit) {
        return 0;
    }
    return grow_segment(table, number);
}

/* Return the value of a key, or NULL without an exception. */
static inline const byte *
lookup(const Table *table, const byte *key, uint64_t hash)
{
    if (table->segment_count == 0) {
        return NULL;
    }
    const Segment *segment = table->segments[segment_number(table, hash)];
    uint32_t slot;
    if (!find(table, segment, key, hash, &slot)) {
        return NULL;
    }
    return entry_at(table, segment, slot) + KEY_BYTES;
}

/* Set the value of a key. Return -1 with MemoryError; no entry has changed then. */
static int
put(Table *table, const byte *key, const byte *value, uint64_t hash)
{
    Segment *segment = NULL;
    uint32_t slot = 0;
    bool is_full = true;
    if (table->segment_count) {
        segment = table->segments[segment_number(table, hash)];
        if (find(table, segment, key, hash, &slot)) {
            memcpy(entry_at(table, segment, slot) + KEY_BYTES, value, table->value_bytes);
            return 0;
        }
        is_full = segment->used >= segment->limit
                  || table->count >= table->segment_count * table->entries_per_segment;
    }
    if (is_full) {
        if (make_room(table, hash) < 0) {
            return -1;
        }
        segment = table->segments[segment_number(table, hash)];
        slot = empty_slot(segment, hash);
    }
    byte *entry = entry_at(table, segment, slot);
    set_tag(segment, slot, tag_of(hash));
    memcpy(entry, key, KEY_BYTES);
    memcpy(entry + KEY_BYTES, value, table->value_bytes);
    segment->used++;
    table->count++;
    table->changes++;
    return 0;
}

static void
drop(Table *table, const byte *key)
{
    uint64_t hash = hash_of(key);
    uint32_t gap;
    if (table->segment_count == 0) {
        return;
    }
    Segment *segment = table->segments[segment_number(table, hash)];
    uint32_t slots = segment->slots;
    if (!find(table, segment, key, hash, &gap)) {
        return;
    }
    /* Move entries back until an empty slot follows. An entry may not move before its home slot. */
    for (uint32_t slot = wrapped(gap + 1, slots); segment->tags[slot];
         slot = wrapped(slot + 1, slots)) {
        const byte *entry = entry_at(table, segment, slot);
        uint32_t home = home_slot(hash_of(entry), slots);
        if (wrapped(slot + slots - home, slots) >= wrapped(slot + slots - gap, slots)) {
            copy_bytes(entry_at(table, segment, gap), entry, table->entry_bytes);
            set_tag(segment, gap, segment->tags[slot]);
            gap = slot;
        }
    }
    set_tag(segment, gap, 0);
    segment->used--;
    table->count--;
    table->changes++;
}

/* Load the segment of a key that is needed soon. So the CPU waits for the memory of several keys at
the same time. */
static inline void
prefetch(const Table *table, uint64_t hash)
{
    if (table->segment_count) {
        const byte *segment = (const byte *)table->segments[segment_number(table, hash)];
        __builtin_prefetch(segment);
        __builtin_prefetch(segment + 64);
    }
}

/* Arguments from Python. With a wrong size the code would read or write beyond an entry. */

static const byte *
bytes_of(PyObject *object, const char *name, size_t size)
{
    if (!PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be bytes, not %.100s", name,
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    if ((size_t)PyBytes_GET_SIZE(object) != size) {
        PyErr_Format(PyExc_ValueError, "%s must have %zu bytes, not %zd", name, size,
                     PyBytes_GET_SIZE(object));
        return NULL;
    }
    return (const byte *)PyBytes_AS_STRING(object);
}

static int
check_count(const char *name, Py_ssize_t count, Py_ssize_t expected)
{
    if (count != expected) {
        PyErr_Format(PyExc_TypeError, "%s() takes exactly %zd arguments (%zd given)", name,
                     expected, count);
        return -1;
    }
    return 0;
}

/* Methods. */

static PyObject *
table_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"value_bytes", NULL};
    Py_ssize_t value_bytes;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n:DigestTable", names, &value_bytes)) {
        return NULL;
    }
    if (value_bytes < 0 || value_bytes > MAX_VALUE_BYTES) {
        return PyErr_Format(PyExc_ValueError, "value_bytes must be 0 to %d, not %zd",
                            MAX_VALUE_BYTES, value_bytes);
    }
    Table *table = (Table *)type->tp_alloc(type, 0); /* filled with zeros */
    if (table == NULL) {
        return NULL;
    }
    table->value_bytes = (uint32_t)value_bytes;
    table->entry_bytes = KEY_BYTES + table->value_bytes;
    table->entries_per_segment = SEGMENT_ENTRY_BYTES / table->entry_bytes;
    return (PyObject *)table;
}

static void
table_dealloc(PyObject *self)
{
    Table *table = (Table *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (size_t number = 0; number < table->segment_count; number++) {
        PyMem_Free(table->segments[number]);
    }
    PyMem_Free(table->segments);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
table_get(PyObject *self, PyObject *key)
{
    Table *table = (Table *)self;
    const byte *key_bytes = bytes_of(key, "the key", KEY_BYTES);
    if (key_bytes == NULL) {
        return NULL;
    }
    const byte *value = lookup(table, key_bytes, hash_of(key_bytes));
    if (value == NULL) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize((const char *)value, table->value_bytes);
}

static PyObject *
table_put(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    Table *table = (Table *)self;
    if (check_count("put", count, 2) < 0) {
        return NULL;
    }
    const byte *key = bytes_of(arguments[0], "the key", KEY_BYTES);
    const byte *value = key ? bytes_of(arguments[1], "the value", table->value_bytes) : NULL;
    if (value == NULL || put(table, key, value, hash_of(key)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
table_drop(PyObject *self, PyObject *key)
{
    const byte *key_bytes = bytes_of(key, "the key", KEY_BYTES);
    if (key_bytes == NULL) {
        return NULL;
    }
    drop((Table *)self, key_bytes);
    Py_RETURN_NONE;
}

static PyObject *
table_reserve(PyObject *Py_UNUSED(self), PyObject *count)
{
    Py_ssize_t entries = PyNumber_AsSsize_t(count, PyExc_OverflowError);
    if (entries == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Return -1 with an exception unless each item of a list or tuple is bytes of this size. No Python
code may run between this check and the use of the items, because it could replace them. */
static int
check_items(PyObject *items, const char *name, size_t size)
{
    PyObject **objects = PySequence_Fast_ITEMS(items);
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    for (Py_ssize_t number = 0; number < count; number++) {
        if (bytes_of(objects[number], name, size) == NULL) {
            return -1;
        }
    }
    return 0;
}

static inline const byte *
content(PyObject *checked)
{
    return (const byte *)PyBytes_AS_STRING(checked);
}

/* The hashes of the next keys of a list. The segments of these keys are already prefetched. */
typedef struct {
    PyObject **keys;
    Py_ssize_t count;
    Py_ssize_t next;
    uint64_t hashes[PREFETCH_DISTANCE];
} Lookahead;

static inline void
look_ahead(Lookahead *ahead, const Table *table)
{
    if (ahead->next < ahead->count) {
        uint64_t hash = hash_of(content(ahead->keys[ahead->next]));
        ahead->hashes[ahead->next % PREFETCH_DISTANCE] = hash;
        prefetch(table, hash);
        ahead->next++;
    }
}

/* Return the hash of the key with this number. Hash one more key ahead, and prefetch its segment. */
static inline uint64_t
next_hash(Lookahead *ahead, const Table *table, Py_ssize_t number)
{
    uint64_t hash = ahead->hashes[number % PREFETCH_DISTANCE];
    look_ahead(ahead, table);
    return hash;
}

static inline Lookahead
start_lookahead(const Table *table, PyObject **keys, Py_ssize_t count)
{
    Lookahead ahead = {keys, count, 0, {0}};
    for (int number = 0; number < PREFETCH_DISTANCE; number++) {
        look_ahead(&ahead, table);
    }
    return ahead;
}

static int
put_items(Table *table, PyObject *keys, PyObject *values)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(keys);
    if (PySequence_Fast_GET_SIZE(values) != count) {
        PyErr_Format(PyExc_ValueError, "%zd keys, but %zd values", count,
                     PySequence_Fast_GET_SIZE(values));
        return -1;
    }
    if (check_items(keys, "the key", KEY_BYTES) < 0
        || check_items(values, "the value", table->value_bytes) < 0) {
        return -1;
    }
    PyObject **key_items = PySequence_Fast_ITEMS(keys);
    PyObject **value_items = PySequence_Fast_ITEMS(values);
    Lookahead ahead = start_lookahead(table, key_items, count);
    for (Py_ssize_t number = 0; number < count; number++) {
        uint64_t hash = next_hash(&ahead, table, number);
        if (put(table, content(key_items[number]), content(value_items[number]), hash) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *
table_put_all(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (check_count("put_all", count, 2) < 0) {
        return NULL;
    }
    PyObject *keys = PySequence_Fast(arguments[0], "the keys must be iterable");
    PyObject *values = keys ? PySequence_Fast(arguments[1], "the values must be iterable") : NULL;
    bool is_done = values && put_items((Table *)self, keys, values) == 0;
    Py_XDECREF(keys);
    Py_XDECREF(values);
    return is_done ? Py_NewRef(Py_None) : NULL;
}

/* Entries that are in records. */

typedef struct {
    PyObject *prefix_of_key;
    PyObject *prefix_of_value;
    Py_ssize_t least_value_bytes;
} EntryLayout;

/* The entry of one record. It holds references to the record's key and value, because the record
may be discarded before the entry is set. */
typedef struct {
    PyObject *key;
    PyObject *value;
    const byte *digest;
    uint64_t hash;
} RecordEntry;

static inline bool
begins_with(PyObject *object, PyObject *prefix, Py_ssize_t least_bytes)
{
    return PyBytes_CheckExact(object) && PyBytes_GET_SIZE(object) >= least_bytes
           && memcmp(PyBytes_AS_STRING(object), PyBytes_AS_STRING(prefix),
                     (size_t)PyBytes_GET_SIZE(prefix)) == 0;
}

static void
release(RecordEntry *entry)
{
    Py_CLEAR(entry->key);
    Py_CLEAR(entry->value);
}

/* Return 1 if the record has an entry of this layout, 0 if not, and -1 with an exception. */
static int
read_entry(const ModuleState *state, PyObject *record, const EntryLayout *layout,
           RecordEntry *entry)
{
    Py_ssize_t key_bytes = PyBytes_GET_SIZE(layout->prefix_of_key) + KEY_BYTES;
    entry->value = NULL;
    entry->key = PyObject_GetAttr(record, state->key_name);
    if (entry->key != NULL) {
        entry->value = PyObject_GetAttr(record, state->value_name);
    }
    if (entry->value == NULL) {
        release(entry);
        return -1;
    }
    if (!begins_with(entry->key, layout->prefix_of_key, key_bytes)
        || PyBytes_GET_SIZE(entry->key) != key_bytes
        || !begins_with(entry->value, layout->prefix_of_value, layout->least_value_bytes)) {
        release(entry);
        return 0;
    }
    entry->digest = content(entry->key) + PyBytes_GET_SIZE(layout->prefix_of_key);
    entry->hash = hash_of(entry->digest);
    return 1;
}

/* Set the entries of records from `start` on. Return the number of the first record without an entry
of this layout, or -1 with an exception. */
static Py_ssize_t
put_entries(Table *table, const ModuleState *state, PyObject *records, Py_ssize_t start,
            const EntryLayout *layout)
{
    enum { ENTRIES = 32 };
    RecordEntry entries[ENTRIES];
    Py_ssize_t number = start;
    int found = 1;
    while (found == 1) {
        int count = 0;
        /* Reading an attribute can run any code, which can change the list. So read the list's size
        each time. */
        while (count < ENTRIES && number + count < PySequence_Fast_GET_SIZE(records)) {
            PyObject *record = Py_NewRef(PySequence_Fast_GET_ITEM(records, number + count));
            found = read_entry(state, record, layout, &entries[count]);
            Py_DECREF(record);
            if (found != 1) {
                break;
            }
            prefetch(table, entries[count].hash);
            count++;
        }
        if (count == 0 && found == 1) {
            break; /* the end */
        }
        for (int place = 0; place < count; place++) {
            RecordEntry *entry = &entries[place];
            const byte *value = content(entry->value) + PyBytes_GET_SIZE(layout->prefix_of_value);
            if (found != -1 && put(table, entry->digest, value, entry->hash) < 0) {
                found = -1;
            }
            release(entry);
        }
        number += count;
    }
    return found == -1 ? -1 : number;
}

static PyObject *
table_put_records(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    Table *table = (Table *)self;
    ModuleState *state = PyType_GetModuleState(Py_TYPE(self));
    if (state == NULL || check_count("put_records", count, 5) < 0) {
        return NULL;
    }
    EntryLayout layout = {arguments[2], arguments[3], 0};
    Py_ssize_t start = PyNumber_AsSsize_t(arguments[1], PyExc_OverflowError);
    layout.least_value_bytes = PyNumber_AsSsize_t(arguments[4], PyExc_OverflowError);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (!PyBytes_Check(layout.prefix_of_key) || !PyBytes_Check(layout.prefix_of_value)) {
        PyErr_SetString(PyExc_TypeError, "the prefixes must be bytes");
        return NULL;
    }
    if (start < 0) {
        PyErr_SetString(PyExc_ValueError, "the start must not be negative");
        return NULL;
    }
    if (layout.least_value_bytes < PyBytes_GET_SIZE(layout.prefix_of_value) + table->value_bytes) {
        PyErr_SetString(PyExc_ValueError, "such values are too short for this table");
        return NULL;
    }
    PyObject *records = PySequence_Fast(arguments[0], "the records must be iterable");
    Py_ssize_t end = records ? put_entries(table, state, records, start, &layout) : -1;
    Py_XDECREF(records);
    return end < 0 ? NULL : PyLong_FromSsize_t(end);
}

static PyObject *
table_get_many(PyObject *self, PyObject *iterable)
{
    Table *table = (Table *)self;
    PyObject *keys = PySequence_Fast(iterable, "the keys must be iterable");
    if (keys == NULL) {
        return NULL;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(keys);
    PyObject *values = PyList_New(count);
    if (values != NULL && count != PySequence_Fast_GET_SIZE(keys)) { /* a finalizer has run */
        PyErr_SetString(PyExc_RuntimeError, "the keys changed during the call");
        goto failed;
    }
    if (values == NULL || check_items(keys, "the key", KEY_BYTES) < 0) {
        goto failed;
    }
    PyObject **key_items = PySequence_Fast_ITEMS(keys);
    Lookahead ahead = start_lookahead(table, key_items, count);
    for (Py_ssize_t number = 0; number < count; number++) {
        const byte *found =
            lookup(table, content(key_items[number]), next_hash(&ahead, table, number));
        PyObject *value = found ? PyBytes_FromStringAndSize((const char *)found, table->value_bytes)
                                : Py_NewRef(Py_None);
        if (value == NULL) {
            goto failed;
        }
        PyList_SET_ITEM(values, number, value);
    }
    Py_DECREF(keys);
    return values;
failed:
    Py_DECREF(keys);
    Py_XDECREF(values);
    return NULL;
}

static Py_ssize_t
table_length(PyObject *self)
{
    return (Py_ssize_t)((Table *)self)->count;
}

static PyObject *
table_sizeof(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    return PyLong_FromSize_t(sizeof(Table) + ((Table *)self)->allocated_bytes);
}

/* The iterator over the keys. */

typedef struct {
    PyObject_HEAD
    Table *table; /* NULL at the end */
    uint64_t changes;
    size_t number;
    uint32_t slot;
} Keys;

static void
keys_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Keys *)self)->table);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
keys_next(PyObject *self)
{
    Keys *keys = (Keys *)self;
    Table *table = keys->table;
    if (table == NULL) {
        return NULL;
    }
    if (keys->changes != table->changes) {
        PyErr_SetString(PyExc_RuntimeError, "the table changed during the iteration");
        return NULL;
    }
    for (; keys->number < table->segment_count; keys->number++, keys->slot = 0) {
        const Segment *segment = table->segments[keys->number];
        while (keys->slot < segment->slots) {
            uint32_t slot = keys->slot++;
            if (segment->tags[slot]) {
                const byte *entry = entry_at(table, segment, slot);
                return PyBytes_FromStringAndSize((const char *)entry, KEY_BYTES);
            }
        }
    }
    Py_CLEAR(keys->table);
    return NULL;
}

static PyObject *
table_iter(PyObject *self)
{
    ModuleState *state = PyType_GetModuleState(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    Keys *keys = (Keys *)state->keys_type->tp_alloc(state->keys_type, 0);
    if (keys == NULL) {
        return NULL;
    }
    keys->table = (Table *)Py_NewRef(self);
    keys->changes = keys->table->changes;
    return (PyObject *)keys;
}

/* The module. */

#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef table_methods[] = {
    {"get", table_get, METH_O, "get($self, key, /)\n--\n\nReturn the value of `key`, or None."},
    {"get_many", table_get_many, METH_O,
     "get_many($self, keys, /)\n--\n\n"
     "Return the value of each key in order, or None for a key without an entry."},
    {"put", FASTCALL(table_put), METH_FASTCALL,
     "put($self, key, value, /)\n--\n\nSet the value of `key`."},
    {"put_all", FASTCALL(table_put_all), METH_FASTCALL,
     "put_all($self, keys, values, /)\n--\n\nSet each key to the value at the same position.\n\n"
     "After a MemoryError, the keys before the one that failed are set."},
    {"put_records", FASTCALL(table_put_records), METH_FASTCALL,
     "put_records($self, records, start, prefix_of_key, prefix_of_value, least_value_bytes, /)\n"
     "--\n\nSet the entries that records hold, from record number `start` on.\n\n"
     "See PurePythonDigestTable.put_records."},
    {"drop", table_drop, METH_O,
     "drop($self, key, /)\n--\n\nRemove `key`, if present. Its segment stays allocated."},
    {"reserve", table_reserve, METH_O,
     "reserve($self, count, /)\n--\n\nDo nothing: this table grows in small, cheap steps."},
    {"__sizeof__", table_sizeof, METH_NOARGS, "Return the size of all memory of the table."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_doc, "DigestTable(value_bytes)\n--\n\n"
                "Maps keys of 16 bytes to values of `value_bytes` (0 to 64).\n\n"
                "Raises TypeError or ValueError for a key or value of another type or size.\n"
                "After an insertion or removal, older iterators over the keys raise RuntimeError."},
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_methods, table_methods},
    {Py_tp_iter, table_iter},
    {Py_sq_length, table_length},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "consumer.pipeline._compiled.DigestTable",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = table_slots,
};

static PyType_Slot keys_slots[] = {
    {Py_tp_dealloc, keys_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, keys_next},
    {0, NULL},
};

static PyType_Spec keys_spec = {
    .name = "consumer.pipeline._compiled.Keys",
    .basicsize = sizeof(Keys),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = keys_slots,
};

/* Take the secret from the hashes of strings. It is random, unless PYTHONHASHSEED is set, and the
same in every interpreter of the process. */
static int
choose_secret(void)
{
    static const char *const names[] = {"first secret", "second secret"};
    for (int number = 0; number < 2; number++) {
        PyObject *name = PyUnicode_FromString(names[number]);
        Py_hash_t hash = name ? PyObject_Hash(name) : -1;
        Py_XDECREF(name);
        if (hash == -1) {
            return -1;
        }
        secret[number] = (uint64_t)hash * 0x9e3779b97f4a7c15u;
    }
    return 0;
}

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    if (choose_secret() < 0) {
        return -1;
    }
    state->keys_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &keys_spec, NULL);
    state->key_name = PyUnicode_InternFromString("key");
    state->value_name = PyUnicode_InternFromString("value");
    if (state->keys_type == NULL || state->key_name == NULL || state->value_name == NULL) {
        return -1;
    }
    PyObject *table_type = PyType_FromModuleAndSpec(module, &table_spec, NULL);
    if (table_type == NULL) {
        return -1;
    }
    int added = PyModule_AddObjectRef(module, "DigestTable", table_type);
    Py_DECREF(table_type);
    return added;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
    if (state != NULL) {
        Py_VISIT(state->keys_type);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    if (state != NULL) {
        Py_CLEAR(state->keys_type);
        Py_CLEAR(state->key_name);
        Py_CLEAR(state->value_name);
    }
    return 0;
}

#ifdef TEST_ALLOCATION_FAILURES
static PyObject *
fail_after(PyObject *Py_UNUSED(module), PyObject *count)
{
    allocations_left = PyLong_AsLong(count);
    if (allocations_left == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}
#endif

static PyMethodDef module_methods[] = {
#ifdef TEST_ALLOCATION_FAILURES
    {"fail_after", fail_after, METH_O, "Let all allocations after `count` fail; -1: none."},
#endif
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_compiled",
    .m_doc = "The compiled table of digests, see digest_table.py.",
    .m_size = sizeof(ModuleState),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    return PyModuleDef_Init(&module);
}
