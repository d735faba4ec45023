{{/* Refuses contradictory values. Reports all contradictions at once, with one line for each. */}}
{{- define "checkpoint-ready.validate" -}}
{{- $v := .Values -}}
{{- $problems := list -}}
{{- $sasl := include "checkpoint-ready.hasSasl" . -}}
{{- $tls := include "checkpoint-ready.hasTls" . -}}
{{- $login := $v.kafka.sasl -}}
{{- $autoscaled := or $v.keda.enabled $v.hpa.enabled -}}
{{- $least := $v.replicas -}}
{{- $resources := $v.resources | default dict -}}
{{- $name := include "checkpoint-ready.fullname" . -}}

{{- if regexMatch "^[0-9]" $name -}}
{{- $problems = append $problems (printf "%s begins with a digit, which is not allowed in the name of a Service: set fullnameOverride." $name) -}}
{{- end -}}

{{- if not $v.kafka.bootstrapServers -}}
{{- $problems = append $problems "kafka.bootstrapServers is empty: set it to your brokers, host:port, comma-separated." -}}
{{- end -}}

{{- range splitList "," $v.kafka.bootstrapServers -}}
{{- $port := regexFind ":[0-9]{1,5}$" (trim .) | trimPrefix ":" | int -}}
{{- if and $v.kafka.bootstrapServers (or (not (regexMatch "^[^ ]+:[0-9]+$" (trim .))) (lt $port 1) (gt $port 65535)) -}}
{{- $problems = append $problems (printf "kafka.bootstrapServers has %q, which is not host:port: give each broker with its port, comma-separated." .) -}}
{{- end -}}
{{- end -}}

{{- /* Topics */ -}}
{{- $own := fromJson (include "checkpoint-ready.ownTopics" .) -}}
{{- range $v.topics.inputs -}}
{{- if hasKey $own . -}}
{{- $problems = append $problems (printf "topics.inputs names %s, which is %s: the service would read its own output. Remove it from topics.inputs, or rename the topic of this service." . (get $own .)) -}}
{{- end -}}
{{- end -}}
{{- if lt (len $own) 5 -}}
{{- $problems = append $problems "topics.output, topics.deadLetters and the internal topics of groupId must differ: rename one." -}}
{{- end -}}
{{- if and $v.topics.inputPartitions (not $v.topics.create) -}}
{{- $problems = append $problems "topics.inputPartitions is set, but the Job that creates the inputs is off: set topics.create=true, or unset topics.inputPartitions." -}}
{{- end -}}

{{- /* Number of processes */ -}}
{{- if and $v.keda.enabled $v.hpa.enabled -}}
{{- $problems = append $problems "keda.enabled and hpa.enabled would conflict: disable one of them." -}}
{{- end -}}
{{- if and $v.shards (not $autoscaled) (gt (int $v.replicas) (int $v.shards)) -}}
{{- $problems = append $problems (printf "replicas is %d, but there are only %d shards, and a process without a shard is idle: lower replicas. The number of shards of a group cannot change." (int $v.replicas) (int $v.shards)) -}}
{{- end -}}
{{- if and $v.hpa.enabled (not (or (dig "requests" "cpu" "" $resources) (dig "limits" "cpu" "" $resources))) -}}
{{- $problems = append $problems "hpa.enabled scales by the percentage of resources.requests.cpu, which is not set: set it." -}}
{{- end -}}
{{- range $name, $scaler := dict "keda" $v.keda "hpa" $v.hpa -}}
{{- if $scaler.enabled -}}
{{- $least = $scaler.minReplicas -}}
{{- if not $v.shards -}}
{{- $problems = append $problems (printf "%s.enabled needs shards as the upper limit of replicas: set it to the partitions of %s.changelog (`checkpoint-ready topics check` shows it)." $name $v.groupId) -}}
{{- else if gt (int ($scaler.maxReplicas | default $v.shards)) (int $v.shards) -}}
{{- $problems = append $problems (printf "%s.maxReplicas is %d, but there are only %d shards: lower it, or leave it empty to use the number of shards." $name (int $scaler.maxReplicas) (int $v.shards)) -}}
{{- end -}}
{{- $most := int ($scaler.maxReplicas | default $v.shards) -}}
{{- if and $most (gt (int $scaler.minReplicas) $most) -}}
{{- $problems = append $problems (printf "%s.minReplicas is %d, above the %d of %s.maxReplicas or shards: lower it." $name (int $scaler.minReplicas) $most $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Connection to Kafka */ -}}
{{- if $sasl -}}
{{- if not $login.mechanism -}}
{{- $problems = append $problems (printf "kafka.securityProtocol=%s needs kafka.sasl.mechanism: SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER." $v.kafka.securityProtocol) -}}
{{- end -}}
{{- if $v.strimzi.enabled -}}
{{- if or $login.username $login.password $login.existingSecret -}}
{{- $problems = append $problems "with strimzi.enabled, Strimzi creates the user and its Secret: leave kafka.sasl.username, password and existingSecret empty." -}}
{{- end -}}
{{- if and $login.mechanism (ne $login.mechanism "SCRAM-SHA-512") -}}
{{- $problems = append $problems "Strimzi supports only the mechanism SCRAM-SHA-512: set kafka.sasl.mechanism to it, or kafka.securityProtocol to SSL for mutual TLS." -}}
{{- end -}}
{{- else if include "checkpoint-ready.hasOauthbearer" . -}}
{{- $problems = concat $problems (get (fromJson (include "checkpoint-ready.oauthbearerProblems" .)) "problems") -}}
{{- else -}}
{{- if and (not $login.existingSecret) (not (and $login.username $login.password)) -}}
{{- $problems = append $problems (printf "kafka.securityProtocol=%s needs credentials: name a Secret in kafka.sasl.existingSecret, or set kafka.sasl.username and password." $v.kafka.securityProtocol) -}}
{{- end -}}
{{- if and $login.existingSecret $login.password -}}
{{- $problems = append $problems "kafka.sasl.existingSecret and kafka.sasl.password are both set: keep one." -}}
{{- end -}}
{{- end -}}
{{- else if or $login.mechanism $login.username $login.password $login.existingSecret -}}
{{- $problems = append $problems "kafka.sasl is set, but kafka.securityProtocol does not use it: set kafka.securityProtocol to SASL_SSL." -}}
{{- end -}}
{{- if and (not $tls) (or $v.kafka.tls.caSecret $v.kafka.tls.clientSecret) -}}
{{- $problems = append $problems "kafka.tls is set, but kafka.securityProtocol does not use it: set kafka.securityProtocol to SSL or SASL_SSL." -}}
{{- end -}}

{{- /* Shutdown and drains */ -}}
{{- if lt (int $v.terminationGracePeriodSeconds) 40 -}}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is %d, but a graceful shutdown may take 35 s: set it to 40 or more, otherwise the kubelet kills the process during its shutdown." (int $v.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- $pdb := $v.podDisruptionBudget -}}
{{- if $pdb.enabled -}}
{{- if kindIs "invalid" $pdb.minAvailable -}}
{{- if regexMatch "^0+%?$" (toString $pdb.maxUnavailable) -}}
{{- $problems = append $problems "with podDisruptionBudget.maxUnavailable=0 no node can be drained: set it to 1 or more." -}}
{{- end -}}
{{- else -}}
{{- $kept := int $pdb.minAvailable -}}
{{- $isAll := false -}}
{{- if hasSuffix "%" (toString $pdb.minAvailable) -}}
{{- $isAll = ge (trimSuffix "%" $pdb.minAvailable | int) 100 -}}
{{- $kept = int (ceil (divf (mulf (trimSuffix "%" $pdb.minAvailable | float64) (float64 $least)) 100)) -}}
{{- end -}}
{{- /* With replicas null the number of pods is not known here, so only a budget of 100% is refused. */ -}}
{{- if or $isAll (and (not (kindIs "invalid" $least)) (ge $kept (int $least)) (gt $kept 0)) -}}
{{- $all := kindIs "invalid" $least | ternary "all" (printf "all of %d" (int $least)) -}}
{{- $problems = append $problems (printf "podDisruptionBudget.minAvailable=%s keeps %s pods, so no node can be drained: lower it, or use maxUnavailable=1." (include "checkpoint-ready.plain" $pdb.minAvailable) $all) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Times that limit each other. The numbers in these four lines are the defaults of the settings. */ -}}
{{- $heartbeat := dig "HEARTBEAT_INTERVAL_MS" 300 $v.config | int64 -}}
{{- $session := dig "SESSION_TIMEOUT_MS" 10000 $v.config | int64 -}}
{{- $transaction := dig "TRANSACTION_TIMEOUT_MS" 15000 $v.config | int64 -}}
{{- $watchdog := dig "WATCHDOG_SECONDS" 300 $v.config | int64 -}}
{{- if gt (mul $heartbeat 3) $session -}}
{{- $problems = append $problems (printf "config.HEARTBEAT_INTERVAL_MS is %d, more than a third of config.SESSION_TIMEOUT_MS (%d): lower the first or raise the second." $heartbeat $session) -}}
{{- end -}}
{{- range $bound, $ms := dict "TRANSACTION_TIMEOUT_MS" $transaction "SESSION_TIMEOUT_MS" $session -}}
{{- if and $watchdog (lt (mul $watchdog 1000) (mul $ms 2)) -}}
{{- $problems = append $problems (printf "config.WATCHDOG_SECONDS is %d, less than twice config.%s (%d ms): raise the first, lower the second, or set WATCHDOG_SECONDS to 0." $watchdog $bound $ms) -}}
{{- end -}}
{{- end -}}

{{- /* Resources, monitoring, environment, replays, Strimzi */ -}}
{{- range $path, $sizes := dict "resources" $resources "ingest.resources" $v.ingest.resources "poll.resources" $v.poll.resources -}}
{{- range $resource := list "cpu" "memory" -}}
{{- $request := dig "requests" $resource "" ($sizes | default dict) -}}
{{- $limit := dig "limits" $resource "" ($sizes | default dict) -}}
{{- $numbers := list (include "checkpoint-ready.quantity" $request) (include "checkpoint-ready.quantity" $limit) -}}
{{- if and (first $numbers) (last $numbers) (gt (first $numbers | float64) (last $numbers | float64)) -}}
{{- $problems = append $problems (printf "%s.requests.%s=%s is above %s.limits.%s=%s: raise both." $path $resource (include "checkpoint-ready.plain" $request) $path $resource (include "checkpoint-ready.plain" $limit)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.monitoring.podMonitor $v.monitoring.serviceMonitor -}}
{{- $problems = append $problems "monitoring.podMonitor and monitoring.serviceMonitor would scrape every process twice: keep one." -}}
{{- end -}}
{{- range $name, $_ := $v.extraEnv -}}
{{- if hasPrefix "CHECKPOINT_READY_" $name -}}
{{- $problems = append $problems (printf "extraEnv.%s is a setting of this service: set it under config without the prefix, or use the value of the chart for it." $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.replay.existingSecret (include "checkpoint-ready.hasOauthbearer" .) -}}
{{- $problems = append $problems "replay.existingSecret has no effect with kafka.sasl.mechanism OAUTHBEARER, with which replays log in as the service: unset it." -}}
{{- end -}}
{{- if and $v.replay.existingSecret (or (not $sasl) $v.strimzi.enabled) -}}
{{- $problems = append $problems "replay.existingSecret is only for kafka.securityProtocol SASL_SSL or SASL_PLAINTEXT without Strimzi: unset it." -}}
{{- end -}}
{{- if $v.strimzi.enabled -}}
{{- if not $v.strimzi.cluster -}}
{{- $problems = append $problems "strimzi.enabled needs strimzi.cluster, the name of the Kafka resource." -}}
{{- end -}}
{{- if not $v.shards -}}
{{- $problems = append $problems "strimzi.enabled needs shards, the partition count of the topics that Strimzi creates: set it to the largest partition count of the inputs, at least 3." -}}
{{- else if not $v.strimzi.createdShards -}}
{{- /* A comparison with the cluster needs `lookup`, which finds nothing where Argo CD or `helm template` renders the chart. */ -}}
{{- $problems = append $problems (printf "strimzi.enabled needs strimzi.createdShards, the number of shards at the first install: set it to %d for a new group, and never change it." (int $v.shards)) -}}
{{- else if ne (int $v.shards) (int $v.strimzi.createdShards) -}}
{{- $problems = append $problems (printf "shards is %d, but strimzi.createdShards says that the topics were created with %d, which must never change: set shards back, or start a new group with another groupId and topics.output." (int $v.shards) (int $v.strimzi.createdShards)) -}}
{{- end -}}
{{- if $v.topics.create -}}
{{- $problems = append $problems "with strimzi.enabled, Strimzi creates the topics: set topics.create=false." -}}
{{- end -}}
{{- if $v.kafka.tls.clientSecret -}}
{{- $problems = append $problems "with strimzi.enabled, Strimzi creates the client certificate: leave kafka.tls.clientSecret empty." -}}
{{- end -}}
{{- end -}}

{{- range list "ingest" "poll" -}}
{{- if (get $v .).enabled -}}
{{- $problems = concat $problems (get (fromJson (include "checkpoint-ready.bridgeProblems" (list $ .))) "problems") -}}
{{- $problems = concat $problems (get (fromJson (include (printf "checkpoint-ready.%sProblems" .) $)) "problems" | default list) -}}
{{- end -}}
{{- end -}}

{{- if $problems -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}
