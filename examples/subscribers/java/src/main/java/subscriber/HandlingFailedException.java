package subscriber;

/** An event could not be handled. It is not committed, so Kafka delivers it again after a restart. */
final class HandlingFailedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    HandlingFailedException(String message) {
        super(message);
    }
}
