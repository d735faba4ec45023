#!/bin/sh
# Sets isolation.level=read_committed for every KafkaSource of the cluster, if it is not set.
# A merge patch cannot do this, because all consumer properties are one string of the ConfigMap.
set -eu

NAMESPACE=${NAMESPACE:-knative-eventing}
CONFIG_MAP=config-kafka-source-data-plane
DISPATCHER=statefulset/kafka-source-dispatcher
UNCOMMITTED='isolation\.level=read_uncommitted'
COMMITTED='isolation.level=read_committed'

before=$(kubectl get configmap "$CONFIG_MAP" --namespace "$NAMESPACE" --output yaml)
after=$(printf '%s\n' "$before" | sed "s/$UNCOMMITTED/$COMMITTED/")
case $after in
*"$COMMITTED"*) ;;
*)
    echo "$CONFIG_MAP has no isolation.level: add the line $COMMITTED to config-kafka-source-consumer.properties" >&2
    exit 1
    ;;
esac
if [ "$before" = "$after" ]; then
    echo "$CONFIG_MAP already has $COMMITTED"
    exit 0
fi
printf '%s\n' "$after" | kubectl replace --filename -
# The dispatcher reads the properties when it starts.
kubectl rollout restart "$DISPATCHER" --namespace "$NAMESPACE"
kubectl rollout status "$DISPATCHER" --namespace "$NAMESPACE"
