/* Builds the record batches of a transaction in message format v2 (KIP-98), and computes checksums.
 *
 * partition_batches.py does the same in Python, with the builder of aiokafka. _batch_builder.pyi describes the interface.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

#define HEADER_BYTES 61
#define LENGTH_POSITION 8        /* the length counts the bytes after it */
#define ATTRIBUTES_POSITION 21   /* the checksum covers the bytes from here on */
#define TRANSACTIONAL 0x10
#define FIRST_BYTES 4096         /* the memory that an empty batch reserves */

/* Checksums: CRC-32C (Castagnoli), polynomial 0x1EDC6F41, reflected. */

static uint32_t crc_table[8][256];

static void
fill_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
        }
        crc_table[0][byte] = crc;
    }
    for (int byte = 0; byte < 256; byte++) {
        for (int row = 1; row < 8; row++) {
            uint32_t before = crc_table[row - 1][byte];
            crc_table[row][byte] = before >> 8 ^ crc_table[0][before & 0xFF];
        }
    }
}

static uint32_t
crc32c_by_table(uint32_t crc, const uint8_t *bytes, size_t count)
{
    for (; count >= 8; bytes += 8, count -= 8) { /* eight bytes at a time */
        uint32_t low = crc ^ ((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                              (uint32_t)bytes[3] << 24);
        crc = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF] ^
              crc_table[4][low >> 24] ^ crc_table[3][bytes[4]] ^ crc_table[2][bytes[5]] ^
              crc_table[1][bytes[6]] ^ crc_table[0][bytes[7]];
    }
    for (; count > 0; bytes++, count--) {
        crc = crc >> 8 ^ crc_table[0][(crc ^ *bytes) & 0xFF];
    }
    return crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_by_instruction(uint32_t crc, const uint8_t *bytes, size_t count)
{
    uint64_t wide = crc;
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t eight;
        memcpy(&eight, bytes, 8);
        wide = __builtin_ia32_crc32di(wide, eight);
    }
    crc = (uint32_t)wide;
    for (; count > 0; bytes++, count--) {
        crc = __builtin_ia32_crc32qi(crc, *bytes);
    }
    return crc;
}
#endif

static uint32_t (*crc32c_of)(uint32_t, const uint8_t *, size_t) = crc32c_by_table;

static uint32_t
crc32c(const uint8_t *bytes, size_t count)
{
    return crc32c_of(0xFFFFFFFFu, bytes, count) ^ 0xFFFFFFFFu;
}

/* Big-endian numbers and zigzag varints. */

static void
put_number(uint8_t *to, uint64_t number, int bytes)
{
    for (int index = bytes - 1; index >= 0; index--) {
        to[index] = (uint8_t)number;
        number >>= 8;
    }
}

static uint64_t
zigzag(int64_t number)
{
    return (uint64_t)number << 1 ^ (uint64_t)(number >> 63);
}

static Py_ssize_t
varint_bytes(uint64_t encoded)
{
    Py_ssize_t bytes = 1;
    for (; encoded > 0x7F; encoded >>= 7) {
        bytes++;
    }
    return bytes;
}

static uint8_t *
put_varint(uint8_t *to, uint64_t encoded)
{
    for (; encoded > 0x7F; encoded >>= 7) {
        *to++ = (uint8_t)(encoded | 0x80);
    }
    *to++ = (uint8_t)encoded;
    return to;
}

static PyObject *no_headers;

/* Batches that are written. */

typedef struct {
    PyObject_HEAD
    PyObject *bytes; /* the header and the records; allocated larger than `size`, NULL after build() */
    Py_ssize_t size;
    Py_ssize_t batch_bytes;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int producer_epoch;
    int base_sequence;
    int record_count;
} BatchBuilder;

static PyTypeObject *builder_type;

static BatchBuilder *
new_builder(Py_ssize_t batch_bytes)
{
    BatchBuilder *self = (BatchBuilder *)builder_type->tp_alloc(builder_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->batch_bytes = batch_bytes;
    self->size = HEADER_BYTES;
    self->producer_id = self->producer_epoch = self->base_sequence = -1;
    self->bytes = PyBytes_FromStringAndSize(NULL, FIRST_BYTES);
    if (self->bytes == NULL) {
        Py_CLEAR(self);
    }
    return self;
}

static void
builder_dealloc(BatchBuilder *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->bytes);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Checks that `content` is bytes or None, and adds the length of its field to `size`. */
static int
measure_field(PyObject *content, Py_ssize_t *size)
{
    if (content == Py_None) {
        *size += 1;
        return 0;
    }
    if (!PyBytes_Check(content)) {
        PyErr_Format(PyExc_TypeError, "a record holds bytes or None, not %.100s", Py_TYPE(content)->tp_name);
        return -1;
    }
    Py_ssize_t bytes = PyBytes_GET_SIZE(content);
    *size += varint_bytes(zigzag(bytes)) + bytes;
    return 0;
}

static uint8_t *
put_field(uint8_t *to, PyObject *content)
{
    if (content == Py_None) {
        *to++ = 1; /* the varint of -1 */
        return to;
    }
    Py_ssize_t bytes = PyBytes_GET_SIZE(content);
    to = put_varint(to, zigzag(bytes));
    memcpy(to, PyBytes_AS_STRING(content), (size_t)bytes);
    return to + bytes;
}

/* Returns the name of a header, which is a plain str, or bytes after with_encoded_names. */
static const char *
header_name(PyObject *header, Py_ssize_t *size)
{
    PyObject *name = PyTuple_GET_ITEM(header, 0);
    if (PyBytes_Check(name)) {
        *size = PyBytes_GET_SIZE(name);
        return PyBytes_AS_STRING(name);
    }
    return PyUnicode_AsUTF8AndSize(name, size);
}

/* Returns whether the name of each header is exactly a str. Returns -1 with an exception if a header is no pair. */
static int
has_plain_names(PyObject *const *headers, Py_ssize_t count)
{
    int is_plain = 1;
    for (Py_ssize_t index = 0; index < count; index++) {
        if (!PyTuple_Check(headers[index]) || PyTuple_GET_SIZE(headers[index]) != 2) {
            PyErr_SetString(PyExc_TypeError, "a header is a tuple of a name and its content");
            return -1;
        }
        is_plain &= PyUnicode_CheckExact(PyTuple_GET_ITEM(headers[index], 0));
    }
    return is_plain;
}

/* Returns the headers with names as bytes. A name may be of a class that encodes it in its own way (RawHeaderName). */
static PyObject *
with_encoded_names(PyObject *const *headers, Py_ssize_t count)
{
    PyObject *encoded = PyTuple_New(count);
    for (Py_ssize_t index = 0; encoded != NULL && index < count; index++) {
        PyObject *name = PyObject_CallMethod(PyTuple_GET_ITEM(headers[index], 0), "encode", NULL);
        if (name != NULL && !PyBytes_Check(name)) {
            PyErr_SetString(PyExc_TypeError, "the name of a header is a str");
            Py_CLEAR(name);
        }
        PyObject *header = name == NULL ? NULL : PyTuple_Pack(2, name, PyTuple_GET_ITEM(headers[index], 1));
        Py_XDECREF(name);
        if (header == NULL) {
            Py_CLEAR(encoded);
        }
        else {
            PyTuple_SET_ITEM(encoded, index, header);
        }
    }
    return encoded;
}

static int
measure_headers(PyObject *const *headers, Py_ssize_t count, Py_ssize_t *size)
{
    *size += varint_bytes(zigzag(count));
    for (Py_ssize_t index = 0; index < count; index++) {
        Py_ssize_t name_bytes;
        if (header_name(headers[index], &name_bytes) == NULL) {
            return -1;
        }
        *size += varint_bytes(zigzag(name_bytes)) + name_bytes;
        if (measure_field(PyTuple_GET_ITEM(headers[index], 1), size) < 0) {
            return -1;
        }
    }
    return 0;
}

static uint8_t *
put_headers(uint8_t *to, PyObject *const *headers, Py_ssize_t count)
{
    to = put_varint(to, zigzag(count));
    for (Py_ssize_t index = 0; index < count; index++) {
        Py_ssize_t name_bytes = 0;
        const char *name = header_name(headers[index], &name_bytes); /* it was measured, so it is valid */
        to = put_varint(to, zigzag(name_bytes));
        memcpy(to, name, (size_t)name_bytes);
        to = put_field(to + name_bytes, PyTuple_GET_ITEM(headers[index], 1));
    }
    return to;
}

static int
builder_reserve(BatchBuilder *self, Py_ssize_t more)
{
    Py_ssize_t room = PyBytes_GET_SIZE(self->bytes), needed = self->size + more;
    if (needed <= room) {
        return 0;
    }
    Py_ssize_t doubled = 2 * room < self->batch_bytes ? 2 * room : self->batch_bytes;
    return _PyBytes_Resize(&self->bytes, needed > doubled ? needed : doubled); /* on failure bytes is NULL */
}

/* Adds a record. Returns 1, or 0 if the batch is full, or -1 after an error. */
static int
add_record(BatchBuilder *self, int64_t timestamp, PyObject *key, PyObject *value, PyObject *const *headers,
           Py_ssize_t header_count)
{
    if (self->bytes == NULL) {
        PyErr_SetString(PyExc_ValueError, "the batch is built");
        return -1;
    }
    int64_t base_timestamp = self->record_count ? self->base_timestamp : timestamp;
    uint64_t timestamp_delta = zigzag((int64_t)((uint64_t)timestamp - (uint64_t)base_timestamp));
    uint64_t offset_delta = zigzag(self->record_count);
    Py_ssize_t size = 1 + varint_bytes(timestamp_delta) + varint_bytes(offset_delta);
    if (measure_field(key, &size) < 0 || measure_field(value, &size) < 0 ||
        measure_headers(headers, header_count, &size) < 0) {
        return -1;
    }
    Py_ssize_t needed = varint_bytes(zigzag(size)) + size;
    if (self->record_count > 0 && self->size + needed > self->batch_bytes) {
        return 0;
    }
    if (size > INT32_MAX - HEADER_BYTES || self->record_count == INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "the record is larger than a batch can be");
        return -1;
    }
    if (builder_reserve(self, needed) < 0) {
        return -1;
    }
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(self->bytes) + self->size;
    to = put_varint(to, zigzag(size));
    *to++ = 0; /* attributes: none are defined */
    to = put_varint(put_varint(to, timestamp_delta), offset_delta);
    put_headers(put_field(put_field(to, key), value), headers, header_count);
    self->max_timestamp =
        self->record_count == 0 || timestamp > self->max_timestamp ? timestamp : self->max_timestamp;
    self->base_timestamp = base_timestamp;
    self->size += needed;
    self->record_count++;
    return 1;
}

static PyObject *
builder_set_producer_state(BatchBuilder *self, PyObject *arguments)
{
    long long producer_id;
    int epoch, sequence;
    if (!PyArg_ParseTuple(arguments, "Lii", &producer_id, &epoch, &sequence)) {
        return NULL;
    }
    if (epoch < INT16_MIN || epoch > INT16_MAX) {
        PyErr_SetString(PyExc_ValueError, "an epoch has 16 bits");
        return NULL;
    }
    self->producer_id = producer_id;
    self->producer_epoch = epoch;
    self->base_sequence = sequence;
    Py_RETURN_NONE;
}

static PyObject *
builder_build(BatchBuilder *self, PyObject *Py_UNUSED(nothing))
{
    if (self->bytes == NULL) {
        PyErr_SetString(PyExc_ValueError, "the batch is built already");
        return NULL;
    }
    if (_PyBytes_Resize(&self->bytes, self->size) < 0) {
        return NULL;
    }
    uint8_t *header = (uint8_t *)PyBytes_AS_STRING(self->bytes);
    put_number(header, 0, 8); /* base offset: the broker sets it */
    put_number(header + LENGTH_POSITION, (uint64_t)(self->size - LENGTH_POSITION - 4), 4);
    put_number(header + 12, (uint64_t)-1, 4); /* leader epoch: none */
    header[16] = 2;                           /* the format version ("magic") */
    put_number(header + ATTRIBUTES_POSITION, TRANSACTIONAL, 2);
    put_number(header + 23, (uint64_t)(self->record_count ? self->record_count - 1 : 0), 4);
    put_number(header + 27, (uint64_t)self->base_timestamp, 8);
    put_number(header + 35, (uint64_t)self->max_timestamp, 8);
    put_number(header + 43, (uint64_t)self->producer_id, 8);
    put_number(header + 51, (uint64_t)self->producer_epoch, 2);
    put_number(header + 53, (uint64_t)self->base_sequence, 4);
    put_number(header + 57, (uint64_t)self->record_count, 4);
    uint32_t crc = crc32c(header + ATTRIBUTES_POSITION, (size_t)(self->size - ATTRIBUTES_POSITION));
    put_number(header + 17, crc, 4);
    PyObject *built = self->bytes;
    self->bytes = NULL;
    return built;
}

static PyObject *
builder_size(BatchBuilder *self, PyObject *Py_UNUSED(nothing))
{
    return PyLong_FromSsize_t(self->size);
}

static PyMemberDef builder_members[] = {
    {"record_count", T_INT, offsetof(BatchBuilder, record_count), READONLY, "The number of records."},
    {NULL, 0, 0, 0, NULL},
};

#define FUNCTION(name) (PyCFunction)(void (*)(void)) name

static PyMethodDef builder_methods[] = {
    {"set_producer_state", FUNCTION(builder_set_producer_state), METH_VARARGS,
     "Set producer id, epoch and sequence number of the first record."},
    {"build", FUNCTION(builder_build), METH_NOARGS, "Return the batch. It can be built only once."},
    {"size", FUNCTION(builder_size), METH_NOARGS, "Return the size in bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot builder_slots[] = {
    {Py_tp_dealloc, builder_dealloc},
    {Py_tp_methods, builder_methods},
    {Py_tp_members, builder_members},
    {Py_tp_doc, "Builds one transactional batch."},
    {0, NULL},
};

static PyType_Spec builder_spec = {
    .name = "consumer.kafka.client._batch_builder.BatchBuilder",
    .basicsize = sizeof(BatchBuilder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = builder_slots,
};

/* The batches for one partition. */

typedef struct {
    PyObject_HEAD
    PyObject *builders; /* a list of BatchBuilder, which refer to nothing: so no garbage collector is needed */
    BatchBuilder *last; /* the one that accepts records; NULL after finish() */
    int64_t timestamp;
    Py_ssize_t batch_bytes;
} PartitionBatches;

static int
open_batch(PartitionBatches *self)
{
    BatchBuilder *builder = new_builder(self->batch_bytes);
    if (builder == NULL || PyList_Append(self->builders, (PyObject *)builder) < 0) {
        Py_XDECREF(builder);
        return -1;
    }
    Py_XSETREF(self->last, builder);
    return 0;
}

static PyObject *
batches_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"batch_bytes", "timestamp_ms", NULL};
    Py_ssize_t batch_bytes;
    long long timestamp;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "nL", names, &batch_bytes, &timestamp)) {
        return NULL;
    }
    if (batch_bytes < 0 || batch_bytes > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "the length of a batch has 32 bits");
        return NULL;
    }
    PartitionBatches *self = (PartitionBatches *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->batch_bytes = batch_bytes;
    self->timestamp = timestamp;
    self->builders = PyList_New(0);
    if (self->builders == NULL || open_batch(self) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
batches_dealloc(PartitionBatches *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->builders);
    Py_XDECREF(self->last);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Adds a record to the last batch, or to a new one if that is full. Returns 0, or -1 after an error. */
static int
add_to_batches(PartitionBatches *self, PyObject *key, PyObject *value, PyObject *headers)
{
    if (!PyList_Check(headers) && !PyTuple_Check(headers)) {
        PyErr_SetString(PyExc_TypeError, "the headers are a list or a tuple");
        return -1;
    }
    int is_plain = has_plain_names(PySequence_Fast_ITEMS(headers), PySequence_Fast_GET_SIZE(headers));
    if (is_plain < 0) {
        return -1;
    }
    if (self->last == NULL) {
        PyErr_SetString(PyExc_ValueError, "the batches are finished");
        return -1;
    }
    if (is_plain) { /* nothing below runs Python code, so the list of headers cannot change meanwhile */
        int added = add_record(self->last, self->timestamp, key, value, PySequence_Fast_ITEMS(headers),
                               PySequence_Fast_GET_SIZE(headers));
        if (added != 0) {
            return added < 0 ? -1 : 0;
        }
    }
    /* `encode` of a name, and a garbage collection, can run Python code. They cannot change this copy. */
    PyObject *own = PySequence_Tuple(headers);
    if (own != NULL && !is_plain) {
        Py_SETREF(own, with_encoded_names(PySequence_Fast_ITEMS(own), PyTuple_GET_SIZE(own)));
    }
    if (own == NULL) {
        return -1;
    }
    int added = 0;
    for (int attempt = 0; added == 0 && attempt < 2; attempt++) { /* an empty batch takes every record */
        if (self->last == NULL) {
            PyErr_SetString(PyExc_ValueError, "the batches are finished");
            added = -1;
        }
        else if ((is_plain || attempt == 1) && open_batch(self) < 0) {
            added = -1;
        }
        else {
            added = add_record(self->last, self->timestamp, key, value, PySequence_Fast_ITEMS(own),
                               PyTuple_GET_SIZE(own));
        }
    }
    Py_DECREF(own);
    return added < 0 ? -1 : 0;
}

static PyObject *
batches_append(PartitionBatches *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2 && count != 3) {
        PyErr_SetString(PyExc_TypeError, "append takes a key, a value and perhaps headers");
        return NULL;
    }
    if (add_to_batches(self, arguments[0], arguments[1], count == 3 ? arguments[2] : no_headers) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
add_pair(PartitionBatches *self, PyObject *pair)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "a pair is a tuple of a key and a value");
        return -1;
    }
    return add_to_batches(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), no_headers);
}

static PyObject *
batches_append_pairs(PartitionBatches *self, PyObject *pairs)
{
    PyObject *iterator = PyObject_GetIter(pairs), *pair;
    if (iterator == NULL) {
        return NULL;
    }
    int failed = 0;
    while (!failed && (pair = PyIter_Next(iterator)) != NULL) {
        failed = add_pair(self, pair) < 0;
        Py_DECREF(pair);
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred()) { /* in the iterator, or the pair was refused */
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
batches_finish(PartitionBatches *self, PyObject *Py_UNUSED(nothing))
{
    if (self->last == NULL) {
        PyErr_SetString(PyExc_ValueError, "the batches are finished already");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(self->builders);
    if (self->last->record_count == 0 && count > 0 &&
        PyList_SetSlice(self->builders, count - 1, count, NULL) < 0) {
        return NULL;
    }
    Py_CLEAR(self->last);
    PyObject *builders = self->builders;
    self->builders = NULL;
    return builders;
}

static PyMethodDef batches_methods[] = {
    {"append", (PyCFunction)(void (*)(void))batches_append, METH_FASTCALL, "Add a record."},
    {"append_pairs", (PyCFunction)(void (*)(void))batches_append_pairs, METH_O, "Add records without headers."},
    {"finish", (PyCFunction)(void (*)(void))batches_finish, METH_NOARGS, "Return the batches that have records."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot batches_slots[] = {
    {Py_tp_new, batches_new},
    {Py_tp_dealloc, batches_dealloc},
    {Py_tp_methods, batches_methods},
    {Py_tp_doc, "Builds the batches of one partition."},
    {0, NULL},
};

static PyType_Spec batches_spec = {
    .name = "consumer.kafka.client._batch_builder.PartitionBatches",
    .basicsize = sizeof(PartitionBatches),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = batches_slots,
};

/* The module. */

static PyObject *
crc32c_of_bytes(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "crc32c takes bytes and a position");
        return NULL;
    }
    Py_ssize_t begin = PyLong_AsSsize_t(arguments[1]), size = PyBytes_GET_SIZE(arguments[0]);
    if (begin == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (begin < 0 || begin > size) {
        PyErr_SetString(PyExc_ValueError, "the position is outside the bytes");
        return NULL;
    }
    const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(arguments[0]);
    return PyLong_FromUnsignedLong(crc32c(bytes + begin, (size_t)(size - begin)));
}

static PyMethodDef module_functions[] = {
    {"crc32c", FUNCTION(crc32c_of_bytes), METH_FASTCALL, "Return the checksum of bytes from a position on."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    fill_crc_table();
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2")) {
        crc32c_of = crc32c_by_instruction;
    }
#endif
    if (no_headers == NULL) {
        no_headers = PyTuple_New(0);
    }
    if (builder_type == NULL) {
        builder_type = (PyTypeObject *)PyType_FromSpec(&builder_spec);
    }
    PyObject *batches_type = PyType_FromSpec(&batches_spec);
    if (no_headers == NULL || builder_type == NULL || batches_type == NULL) {
        Py_XDECREF(batches_type);
        return -1;
    }
    int failed = PyModule_AddObjectRef(module, "BatchBuilder", (PyObject *)builder_type) < 0 ||
                 PyModule_AddObjectRef(module, "PartitionBatches", batches_type) < 0;
    Py_DECREF(batches_type);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consumer.kafka.client._batch_builder",
    .m_doc = "Builds record batches.",
    .m_size = 0,
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__batch_builder(void)
{
    return PyModuleDef_Init(&module_definition);
}
