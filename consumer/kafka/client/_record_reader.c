/* Reads the records of a batch in message format v2 (KIP-98). `record_format.py` is the reference.

`BatchReader.read` reads regular records only, and each of them as `read_record` does. It stops
before a record that is unusual in any way: a number of too many bytes, fields that do not end where
the record ends, a header name that is not UTF-8, too many headers. The caller reads this record
with the reference. So every rule about unusual records is in one place, in Python. The code here
only decides whether a record is regular.
*/

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdbool.h>
#include <stdint.h>

typedef unsigned char byte;

enum {
    LENGTH_BYTES = 4, /* of a regular 32-bit number; Java also reads five bytes, but drops bits */
    TIMESTAMP_BYTES = 9, /* of a regular 64-bit number; Java also reads ten bytes, but drops bits */
    MORE = 0x80, /* the bit in a byte of a number that says that another byte follows */
};

typedef struct {
    PyTypeObject *record_type;
    PyObject *no_headers;
} ModuleState;

/* The record. It implements the protocol `SourceRecord` of consumer/pipeline/records.py. */

typedef struct {
    PyObject_HEAD
    int64_t offset;
    int64_t timestamp;
    PyObject *key;
    PyObject *value;
    PyObject *headers;
} Record;

/* A record holds only integers, bytes, and a list or tuple of headers. None of these refers back to
   the record, so the type does not support the garbage collector. */
static void
record_dealloc(PyObject *self)
{
    Record *record = (Record *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(record->key);
    Py_XDECREF(record->value);
    Py_XDECREF(record->headers);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
record_repr(PyObject *self)
{
    Record *record = (Record *)self;
    return PyUnicode_FromFormat("Record(offset=%lld, timestamp=%lld, key=%R, value=%R, headers=%R)",
                                (long long)record->offset, (long long)record->timestamp,
                                record->key, record->value, record->headers);
}

static PyMemberDef record_members[] = {
    {"offset", T_LONGLONG, offsetof(Record, offset), READONLY, "Offset in the partition."},
    {"timestamp", T_LONGLONG, offsetof(Record, timestamp), READONLY, "Milliseconds since 1970."},
    {"key", T_OBJECT_EX, offsetof(Record, key), READONLY, "The producer's key."},
    {"value", T_OBJECT_EX, offsetof(Record, value), READONLY, "The payload, or None."},
    {"headers", T_OBJECT_EX, offsetof(Record, headers), READONLY, "Names and values."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot record_slots[] = {
    {Py_tp_doc, "One record."},
    {Py_tp_dealloc, record_dealloc},
    {Py_tp_repr, record_repr},
    {Py_tp_members, record_members},
    {0, NULL},
};

static PyType_Spec record_spec = {
    .name = "consumer.kafka.client._record_reader.Record",
    .basicsize = sizeof(Record),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = record_slots,
};

/* The reader of one batch. */

typedef struct {
    PyObject_HEAD
    PyObject *buffer;
    int64_t base_offset;
    int64_t end_offset; /* the first offset after the batch */
    int64_t record_count;
    int64_t base_timestamp;
    int64_t append_timestamp; /* of every record, if `has_append_time` */
    int64_t most_headers; /* of all records of one read */
    bool has_append_time;
    bool is_complete; /* every offset has a record, so the index of a record gives its offset */
} Reader;

/* The fields of one record, before Python objects are built from them. */
typedef struct {
    const byte *key;
    const byte *value;
    const byte *headers;
    const byte *end;
    int64_t key_bytes; /* below 0: None */
    int64_t value_bytes;
    int64_t header_count;
    int64_t offset;
    int64_t timestamp;
} Parsed;

/* Read a zigzag varint, and move `*at` after it. Return false if it does not end before `end`, or
   has more than `most_bytes` bytes. */
static inline bool
read_number(const byte **at, const byte *end, int most_bytes, int64_t *number)
{
    uint64_t bits = 0;
    for (int count = 0; count < most_bytes && *at < end; count++) {
        byte next = *(*at)++;
        bits |= (uint64_t)(next & ~MORE) << (7 * count);
        if (!(next & MORE)) {
            *number = (int64_t)(bits >> 1) ^ -(int64_t)(bits & 1);
            return true;
        }
    }
    return false;
}

/* Read the length of a field, and skip its content. A length below 0 (null) has no content. */
static inline bool
skip_field(const byte **at, const byte *end, const byte **content, int64_t *size)
{
    if (!read_number(at, end, LENGTH_BYTES, size)) {
        return false;
    }
    *content = *at;
    if (*size > end - *at) {
        return false;
    }
    *at += *size > 0 ? *size : 0;
    return true;
}

/* Parse the record at `at`, and return whether it is regular. Its headers are not read yet: only
   their number is. */
static inline bool
parse(const Reader *reader, const byte *at, const byte *buffer_end, int64_t index,
      int64_t next_offset, Parsed *record)
{
    int64_t size, timestamp_delta, offset_delta;
    if (!read_number(&at, buffer_end, LENGTH_BYTES, &size) || size < 1
        || size > buffer_end - at) {
        return false;
    }
    const byte *end = at + size;
    at++; /* skip the attributes byte: Kafka does not use it */
    if (!read_number(&at, end, TIMESTAMP_BYTES, &timestamp_delta)
        || !read_number(&at, end, LENGTH_BYTES, &offset_delta)
        || !skip_field(&at, end, &record->key, &record->key_bytes)
        || !skip_field(&at, end, &record->value, &record->value_bytes)
        || !read_number(&at, end, LENGTH_BYTES, &record->header_count)) {
        return false;
    }
    if (record->header_count < 0 || (record->header_count == 0 && at != end)) {
        return false;
    }
    if (index + 1 == reader->record_count && end != buffer_end) {
        return false; /* something follows the last record */
    }
    /* The producer sets the offset delta, and brokers do not check it in an uncompressed batch. In
       a complete batch the index of the record gives the offset. */
    int64_t delta = reader->is_complete ? index : offset_delta;
    if (__builtin_add_overflow(reader->base_offset, delta, &record->offset)) {
        return false;
    }
    if (record->offset < next_offset || record->offset >= reader->end_offset) {
        return false;
    }
    record->timestamp =
        reader->has_append_time
            ? reader->append_timestamp
            : (int64_t)((uint64_t)reader->base_timestamp + (uint64_t)timestamp_delta);
    record->headers = at;
    record->end = end;
    return true;
}

static inline PyObject *
bytes_or_none(const byte *content, int64_t size)
{
    if (size < 0) {
        return Py_NewRef(Py_None);
    }
    return PyBytes_FromStringAndSize((const char *)content, (Py_ssize_t)size);
}

/* Return the headers as a list. Return None if they are not regular, and NULL after an exception. */
static PyObject *
build_headers(const Parsed *record)
{
    const byte *at = record->headers;
    PyObject *headers = PyList_New(0);
    for (int64_t number = 0; headers != NULL && number < record->header_count; number++) {
        const byte *name, *content;
        int64_t name_bytes, content_bytes;
        if (!skip_field(&at, record->end, &name, &name_bytes) || name_bytes < 0
            || !skip_field(&at, record->end, &content, &content_bytes)) {
            goto irregular;
        }
        PyObject *text = PyUnicode_DecodeUTF8((const char *)name, (Py_ssize_t)name_bytes, NULL);
        if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            goto irregular;
        }
        PyObject *value = text ? bytes_or_none(content, content_bytes) : NULL;
        PyObject *header = value ? PyTuple_Pack(2, text, value) : NULL;
        Py_XDECREF(text);
        Py_XDECREF(value);
        if (header == NULL || PyList_Append(headers, header) < 0) {
            Py_CLEAR(headers);
        }
        Py_XDECREF(header);
    }
    if (headers == NULL || at == record->end) {
        return headers;
    }
irregular:
    Py_DECREF(headers);
    return Py_NewRef(Py_None);
}

/* Return a record. Return None if its headers are not regular, and NULL after an exception. */
static PyObject *
build_record(const ModuleState *state, const Parsed *parsed)
{
    PyObject *headers =
        parsed->header_count ? build_headers(parsed) : Py_NewRef(state->no_headers);
    if (headers == NULL || headers == Py_None) {
        return headers;
    }
    Record *record = (Record *)state->record_type->tp_alloc(state->record_type, 0);
    if (record == NULL) {
        Py_DECREF(headers);
        return NULL;
    }
    record->offset = parsed->offset;
    record->timestamp = parsed->timestamp;
    record->headers = headers;
    record->key = bytes_or_none(parsed->key, parsed->key_bytes);
    record->value = bytes_or_none(parsed->value, parsed->value_bytes);
    if (record->key == NULL || record->value == NULL) {
        Py_DECREF(record);
        return NULL;
    }
    return (PyObject *)record;
}

static int
integers(PyObject *const *arguments, Py_ssize_t count, int64_t *numbers)
{
    for (Py_ssize_t place = 0; place < count; place++) {
        numbers[place] = PyLong_AsLongLong(arguments[place]);
        if (numbers[place] == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

static PyObject *
reader_read(PyObject *self, PyObject *const *arguments, Py_ssize_t argument_count)
{
    enum { POSITION, INDEX, NEXT_OFFSET, MOST_RECORDS, LIMIT, ARGUMENTS };
    Reader *reader = (Reader *)self;
    int64_t given[ARGUMENTS];
    ModuleState *state = PyType_GetModuleState(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    if (argument_count != ARGUMENTS) {
        return PyErr_Format(PyExc_TypeError, "read() takes exactly %d arguments (%zd given)",
                            ARGUMENTS, argument_count);
    }
    if (integers(arguments, ARGUMENTS, given) < 0) {
        return NULL;
    }
    int64_t size = PyBytes_GET_SIZE(reader->buffer);
    if (given[POSITION] < 0 || given[POSITION] > size) {
        return PyErr_Format(PyExc_ValueError, "position %lld is outside the buffer",
                            (long long)given[POSITION]);
    }
    const byte *begin = (const byte *)PyBytes_AS_STRING(reader->buffer);
    const byte *at = begin + given[POSITION];
    int64_t index = given[INDEX];
    int64_t next_offset = given[NEXT_OFFSET];
    int64_t header_count = 0;
    PyObject *records = PyList_New(0);
    if (records == NULL) {
        return NULL;
    }
    while (PyList_GET_SIZE(records) < given[MOST_RECORDS] && at - begin < given[LIMIT]
           && index < reader->record_count) {
        Parsed parsed;
        if (!parse(reader, at, begin + size, index, next_offset, &parsed)
            || parsed.header_count > reader->most_headers - header_count) {
            break;
        }
        PyObject *record = build_record(state, &parsed);
        if (record == Py_None) {
            Py_DECREF(record);
            break;
        }
        if (record == NULL || PyList_Append(records, record) < 0) {
            Py_XDECREF(record);
            Py_DECREF(records);
            return NULL;
        }
        Py_DECREF(record);
        header_count += parsed.header_count;
        next_offset = parsed.offset + 1;
        at = parsed.end;
        index++;
    }
    return Py_BuildValue("(NLL)", records, (long long)(at - begin), (long long)header_count);
}

static PyObject *
reader_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"buffer",         "base_offset",      "end_offset",   "record_count",
                            "base_timestamp", "append_timestamp", "most_headers", NULL};
    PyObject *buffer, *append_timestamp;
    long long base_offset, end_offset, record_count, base_timestamp, most_headers;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "SLLLLOL:BatchReader", names, &buffer,
                                     &base_offset, &end_offset, &record_count, &base_timestamp,
                                     &append_timestamp, &most_headers)) {
        return NULL;
    }
    int64_t append_time = 0;
    if (append_timestamp != Py_None && integers(&append_timestamp, 1, &append_time) < 0) {
        return NULL;
    }
    Reader *reader = (Reader *)type->tp_alloc(type, 0);
    if (reader == NULL) {
        return NULL;
    }
    int64_t offsets;
    reader->buffer = Py_NewRef(buffer);
    reader->base_offset = base_offset;
    reader->end_offset = end_offset;
    reader->record_count = record_count;
    reader->base_timestamp = base_timestamp;
    reader->has_append_time = append_timestamp != Py_None;
    reader->append_timestamp = append_time;
    reader->most_headers = most_headers;
    reader->is_complete =
        !__builtin_sub_overflow(end_offset, base_offset, &offsets) && offsets == record_count;
    return (PyObject *)reader;
}

static void
reader_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Reader *)self)->buffer);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"read", (PyCFunction)(void (*)(void))reader_read, METH_FASTCALL,
     "read($self, position, index, next_offset, most_records, limit, /)\n--\n\n"
     "Return regular records, the position after them, and the number of their headers.\n\n"
     "See RegularReader in regular_records.py."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "BatchReader(buffer, base_offset, end_offset, record_count, base_timestamp, "
                "append_timestamp, most_headers)\n--\n\n"
                "Reads the regular records of an uncompressed batch."},
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "consumer.kafka.client._record_reader.BatchReader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

/* The module. */

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    state->no_headers = PyTuple_New(0);
    state->record_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &record_spec, NULL);
    if (state->no_headers == NULL || state->record_type == NULL) {
        return -1;
    }
    PyObject *reader_type = PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    if (reader_type == NULL) {
        return -1;
    }
    int added = PyModule_AddObjectRef(module, "BatchReader", reader_type);
    Py_DECREF(reader_type);
    return added;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
    if (state != NULL) {
        Py_VISIT(state->record_type);
        Py_VISIT(state->no_headers);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    if (state != NULL) {
        Py_CLEAR(state->record_type);
        Py_CLEAR(state->no_headers);
    }
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_record_reader",
    .m_doc = "Reads the records of a batch, see record_batch.py.",
    .m_size = sizeof(ModuleState),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__record_reader(void)
{
    return PyModuleDef_Init(&module);
}
