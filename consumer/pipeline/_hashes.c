/* The hashes of the pipeline in C: BLAKE2b of short contents, and the hash of Kafka's default partitioner.
 *
 * hashlib computes a digest about as fast. But to create its hash object and to read the digest takes longer than to
 * hash an id.
 * _hashes.pyi describes the interface. hashes.py has the same functions in Python.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* BLAKE2b (RFC 7693), without a key. */

#define BLOCK_BYTES 128
#define ROUNDS 12

static const uint64_t initial[8] = {
    0x6A09E667F3BCC908u, 0xBB67AE8584CAA73Bu, 0x3C6EF372FE94F82Bu, 0xA54FF53A5F1D36F1u,
    0x510E527FADE682D1u, 0x9B05688C2B3E6C1Fu, 0x1F83D9ABFB41BD6Bu, 0x5BE0CD19137E2179u,
};

/* Which words of the message each round mixes in (RFC 7693, 2.7). */
static const uint8_t schedule[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t
rotated(uint64_t word, int bits)
{
    return word >> bits | word << (64 - bits);
}

static inline uint64_t
little_endian(const uint8_t *bytes)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
#else
    uint64_t word = 0;
    for (int index = 7; index >= 0; index--) {
        word = word << 8 | bytes[index];
    }
    return word;
#endif
}

#define MIX(a, b, c, d, x, y)                                                                                          \
    a += b + (x), d = rotated(d ^ a, 32), c += d, b = rotated(b ^ c, 24);                                              \
    a += b + (y), d = rotated(d ^ a, 16), c += d, b = rotated(b ^ c, 63)

/* Compresses one block into the state. `bytes` is the length of the message up to the end of this block. */
static void
compress(uint64_t state[8], const uint8_t *block, uint64_t bytes, int is_last)
{
    uint64_t m[16], v[16];
    for (int index = 0; index < 16; index++) {
        m[index] = little_endian(block + 8 * index);
    }
    memcpy(v, state, 8 * sizeof *v);
    memcpy(v + 8, initial, 8 * sizeof *v);
    v[12] ^= bytes;
    v[14] ^= is_last ? ~(uint64_t)0 : 0;
#if defined(__clang__)
#pragma clang loop unroll(full)
#elif defined(__GNUC__)
#pragma GCC unroll 12
#endif
    for (int round = 0; round < ROUNDS; round++) {
        const uint8_t *word = schedule[round % 10];
        MIX(v[0], v[4], v[8], v[12], m[word[0]], m[word[1]]);
        MIX(v[1], v[5], v[9], v[13], m[word[2]], m[word[3]]);
        MIX(v[2], v[6], v[10], v[14], m[word[4]], m[word[5]]);
        MIX(v[3], v[7], v[11], v[15], m[word[6]], m[word[7]]);
        MIX(v[0], v[5], v[10], v[15], m[word[8]], m[word[9]]);
        MIX(v[1], v[6], v[11], v[12], m[word[10]], m[word[11]]);
        MIX(v[2], v[7], v[8], v[13], m[word[12]], m[word[13]]);
        MIX(v[3], v[4], v[9], v[14], m[word[14]], m[word[15]]);
    }
    for (int index = 0; index < 8; index++) {
        state[index] ^= v[index] ^ v[index + 8];
    }
}

static void
blake2b(const uint8_t *content, size_t bytes, size_t digest_bytes, uint8_t *digest)
{
    uint64_t state[8];
    uint8_t last[BLOCK_BYTES] = {0};
    size_t done = 0;
    memcpy(state, initial, sizeof state);
    state[0] ^= 0x01010000u ^ digest_bytes; /* fan-out 1, depth 1, no key */
    for (; bytes - done > BLOCK_BYTES; done += BLOCK_BYTES) {
        compress(state, content + done, done + BLOCK_BYTES, 0);
    }
    memcpy(last, content + done, bytes - done); /* the last block is padded with zeros */
    compress(state, last, bytes, 1);
    for (size_t index = 0; index < digest_bytes; index++) {
        digest[index] = (uint8_t)(state[index / 8] >> 8 * (index % 8));
    }
}

/* The hash of Kafka's default partitioner: MurmurHash2 of 32 bits with a fixed seed. */

static uint32_t
murmur2(const uint8_t *content, size_t bytes)
{
    const uint32_t factor = 0x5BD1E995u;
    uint32_t hash = 0x9747B28Cu ^ (uint32_t)bytes;
    for (; bytes >= 4; content += 4, bytes -= 4) {
        uint32_t word = (uint32_t)content[0] | (uint32_t)content[1] << 8 | (uint32_t)content[2] << 16 |
                        (uint32_t)content[3] << 24;
        word *= factor;
        word ^= word >> 24;
        hash = hash * factor ^ word * factor;
    }
    if (bytes > 2) {
        hash ^= (uint32_t)content[2] << 16;
    }
    if (bytes > 1) {
        hash ^= (uint32_t)content[1] << 8;
    }
    if (bytes > 0) {
        hash = (hash ^ content[0]) * factor;
    }
    hash = (hash ^ hash >> 13) * factor;
    return hash ^ hash >> 15;
}

/* The functions of the module. */

/* Returns the bytes of a bytes object, or the UTF-8 of a str; NULL with an exception for anything else. */
static const uint8_t *
content_of(PyObject *argument, Py_ssize_t *bytes)
{
    if (PyUnicode_Check(argument)) {
        return (const uint8_t *)PyUnicode_AsUTF8AndSize(argument, bytes);
    }
    if (PyBytes_Check(argument)) {
        *bytes = PyBytes_GET_SIZE(argument);
        return (const uint8_t *)PyBytes_AS_STRING(argument);
    }
    PyErr_Format(PyExc_TypeError, "only str and bytes have a hash here, not %.100s", Py_TYPE(argument)->tp_name);
    return NULL;
}

static PyObject *
digest(PyObject *Py_UNUSED(module), PyObject *content)
{
    Py_ssize_t bytes;
    const uint8_t *begin = content_of(content, &bytes);
    PyObject *result = begin == NULL ? NULL : PyBytes_FromStringAndSize(NULL, 16);
    if (result != NULL) {
        blake2b(begin, (size_t)bytes, 16, (uint8_t *)PyBytes_AS_STRING(result));
    }
    return result;
}

static PyObject *
versioned_digest(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "versioned_digest takes a version and a content");
        return NULL;
    }
    long version = PyLong_AsLong(arguments[0]);
    if (version == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (version < 0 || version > 255) {
        PyErr_SetString(PyExc_ValueError, "a version is one byte");
        return NULL;
    }
    Py_ssize_t bytes;
    const uint8_t *begin = content_of(arguments[1], &bytes);
    PyObject *result = begin == NULL ? NULL : PyBytes_FromStringAndSize(NULL, 16);
    if (result != NULL) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(result);
        to[0] = (uint8_t)version;
        blake2b(begin, (size_t)bytes, 15, to + 1);
    }
    return result;
}

static PyObject *
default_partition(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "default_partition takes a key and the number of partitions");
        return NULL;
    }
    long partitions = PyLong_AsLong(arguments[1]);
    if (partitions == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (partitions < 1) {
        PyErr_SetString(PyExc_ValueError, "a topic has at least one partition");
        return NULL;
    }
    Py_ssize_t bytes;
    const uint8_t *begin = content_of(arguments[0], &bytes);
    if (begin == NULL) {
        return NULL;
    }
    return PyLong_FromLong((long)(murmur2(begin, (size_t)bytes) & 0x7FFFFFFFu) % partitions);
}

#define FUNCTION(name) (PyCFunction)(void (*)(void)) name

static PyMethodDef functions[] = {
    {"digest", digest, METH_O, "Return 16 bytes of BLAKE2b."},
    {"versioned_digest", FUNCTION(versioned_digest), METH_FASTCALL, "Return a version and 15 bytes of BLAKE2b."},
    {"default_partition", FUNCTION(default_partition), METH_FASTCALL, "Return the partition of a key."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consumer.pipeline._hashes",
    .m_doc = "The hashes of the pipeline.",
    .m_size = 0,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__hashes(void)
{
    return PyModuleDef_Init(&definition);
}
