{{/* What does not go together, one sentence each; all of them at once. */}}
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
{{- $problems = append $problems (printf "%s begins with a digit, which the name of a Service must not: set fullnameOverride." $name) -}}
{{- end -}}

{{- if not $v.kafka.bootstrapServers -}}
{{- $problems = append $problems "kafka.bootstrapServers is empty: set it to your brokers, host:port, comma separated." -}}
{{- end -}}

{{- range splitList "," $v.kafka.bootstrapServers -}}
{{- $port := regexFind ":[0-9]{1,5}$" (trim .) | trimPrefix ":" | int -}}
{{- if and $v.kafka.bootstrapServers (or (not (regexMatch "^[^ ]+:[0-9]+$" (trim .))) (lt $port 1) (gt $port 65535)) -}}
{{- $problems = append $problems (printf "kafka.bootstrapServers has %q, which is no host:port: name each broker with its port, comma separated." .) -}}
{{- end -}}
{{- end -}}

{{- /* Topics */ -}}
{{- $own := fromJson (include "checkpoint-ready.ownTopics" .) -}}
{{- range $v.topics.inputs -}}
{{- if hasKey $own . -}}
{{- $problems = append $problems (printf "topics.inputs names %s, which is %s: reading it would loop; take it out or rename ours." . (get $own .)) -}}
{{- end -}}
{{- end -}}
{{- if lt (len $own) 5 -}}
{{- $problems = append $problems "topics.output, topics.deadLetters and the internal topics of groupId must differ: rename one." -}}
{{- end -}}
{{- if and $v.topics.inputPartitions (not $v.topics.create) -}}
{{- $problems = append $problems "topics.inputPartitions is set, but the Job that would make the inputs is off: set topics.create=true or unset it." -}}
{{- end -}}

{{- /* How many processes */ -}}
{{- if and $v.keda.enabled $v.hpa.enabled -}}
{{- $problems = append $problems "keda.enabled and hpa.enabled would work against each other: keep one." -}}
{{- end -}}
{{- if and $v.shards (not $autoscaled) (gt (int $v.replicas) (int $v.shards)) -}}
{{- $problems = append $problems (printf "replicas is %d, but there are only %d shards, and a process without one idles: lower replicas; shards are fixed for the life of a group." (int $v.replicas) (int $v.shards)) -}}
{{- end -}}
{{- if and $v.hpa.enabled (not (or (dig "requests" "cpu" "" $resources) (dig "limits" "cpu" "" $resources))) -}}
{{- $problems = append $problems "hpa.enabled scales by the share of resources.requests.cpu, which is not set: set it." -}}
{{- end -}}
{{- range $name, $scaler := dict "keda" $v.keda "hpa" $v.hpa -}}
{{- if $scaler.enabled -}}
{{- $least = $scaler.minReplicas -}}
{{- if not $v.shards -}}
{{- $problems = append $problems (printf "%s.enabled needs shards as the bound of replicas: set it to the partitions of %s.changelog (`checkpoint-ready topics check` shows it)." $name $v.groupId) -}}
{{- else if gt (int ($scaler.maxReplicas | default $v.shards)) (int $v.shards) -}}
{{- $problems = append $problems (printf "%s.maxReplicas is %d, but there are only %d shards: lower it, or leave it empty for as many." $name (int $scaler.maxReplicas) (int $v.shards)) -}}
{{- end -}}
{{- $most := int ($scaler.maxReplicas | default $v.shards) -}}
{{- if and $most (gt (int $scaler.minReplicas) $most) -}}
{{- $problems = append $problems (printf "%s.minReplicas is %d, above the %d of %s.maxReplicas or shards: lower it." $name (int $scaler.minReplicas) $most $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The way into Kafka */ -}}
{{- if $sasl -}}
{{- if not $login.mechanism -}}
{{- $problems = append $problems (printf "kafka.securityProtocol=%s needs kafka.sasl.mechanism: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN." $v.kafka.securityProtocol) -}}
{{- end -}}
{{- if $v.strimzi.enabled -}}
{{- if or $login.username $login.password $login.existingSecret -}}
{{- $problems = append $problems "strimzi.enabled makes the user and its Secret: leave kafka.sasl.username, password and existingSecret empty." -}}
{{- end -}}
{{- if and $login.mechanism (ne $login.mechanism "SCRAM-SHA-512") -}}
{{- $problems = append $problems "Strimzi knows no other login than SCRAM-SHA-512: set kafka.sasl.mechanism to it, or kafka.securityProtocol to SSL for mutual TLS." -}}
{{- end -}}
{{- else -}}
{{- if and (not $login.existingSecret) (not (and $login.username $login.password)) -}}
{{- $problems = append $problems (printf "kafka.securityProtocol=%s needs a login: name a Secret in kafka.sasl.existingSecret, or set kafka.sasl.username and password." $v.kafka.securityProtocol) -}}
{{- end -}}
{{- if and $login.existingSecret $login.password -}}
{{- $problems = append $problems "kafka.sasl.existingSecret and kafka.sasl.password are both set: keep one." -}}
{{- end -}}
{{- end -}}
{{- else if or $login.mechanism $login.username $login.password $login.existingSecret -}}
{{- $problems = append $problems "kafka.sasl is set, but kafka.securityProtocol does not use it: set that to SASL_SSL." -}}
{{- end -}}
{{- if and (not $tls) (or $v.kafka.tls.caSecret $v.kafka.tls.clientSecret) -}}
{{- $problems = append $problems "kafka.tls is set, but kafka.securityProtocol does not use it: set that to SSL or SASL_SSL." -}}
{{- end -}}

{{- /* What must not stand in the way of an end */ -}}
{{- if lt (int $v.terminationGracePeriodSeconds) 40 -}}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is %d, but an orderly end may take 35 s: set it to 40 or more, else the kubelet kills in the middle of it." (int $v.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- $pdb := $v.podDisruptionBudget -}}
{{- if $pdb.enabled -}}
{{- if kindIs "invalid" $pdb.minAvailable -}}
{{- if regexMatch "^0+%?$" (toString $pdb.maxUnavailable) -}}
{{- $problems = append $problems "podDisruptionBudget.maxUnavailable=0 blocks every drain of a node: set it to 1 or more." -}}
{{- end -}}
{{- else -}}
{{- $kept := int $pdb.minAvailable -}}
{{- $isAll := false -}}
{{- if hasSuffix "%" (toString $pdb.minAvailable) -}}
{{- $isAll = ge (trimSuffix "%" $pdb.minAvailable | int) 100 -}}
{{- $kept = int (ceil (divf (mulf (trimSuffix "%" $pdb.minAvailable | float64) (float64 $least)) 100)) -}}
{{- end -}}
{{- /* Whoever scales by hand minds the budget by hand. */ -}}
{{- if or $isAll (and (not (kindIs "invalid" $least)) (ge $kept (int $least)) (gt $kept 0)) -}}
{{- $all := kindIs "invalid" $least | ternary "all" (printf "all of %d" (int $least)) -}}
{{- $problems = append $problems (printf "podDisruptionBudget.minAvailable=%s keeps %s pods and blocks every drain of a node: lower it, or use maxUnavailable=1." (include "checkpoint-ready.plain" $pdb.minAvailable) $all) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Times that bound each other; the numbers are the settings' defaults. */ -}}
{{- $heartbeat := dig "HEARTBEAT_INTERVAL_MS" 300 $v.config | int64 -}}
{{- $session := dig "SESSION_TIMEOUT_MS" 10000 $v.config | int64 -}}
{{- $transaction := dig "TRANSACTION_TIMEOUT_MS" 15000 $v.config | int64 -}}
{{- $watchdog := dig "WATCHDOG_SECONDS" 300 $v.config | int64 -}}
{{- if gt (mul $heartbeat 3) $session -}}
{{- $problems = append $problems (printf "config.HEARTBEAT_INTERVAL_MS is %d, more than a third of config.SESSION_TIMEOUT_MS, %d: lower it, or raise that." $heartbeat $session) -}}
{{- end -}}
{{- range $bound, $ms := dict "TRANSACTION_TIMEOUT_MS" $transaction "SESSION_TIMEOUT_MS" $session -}}
{{- if and $watchdog (lt (mul $watchdog 1000) (mul $ms 2)) -}}
{{- $problems = append $problems (printf "config.WATCHDOG_SECONDS is %d, less than twice config.%s, %d ms: raise it, lower that, or set it to 0." $watchdog $bound $ms) -}}
{{- end -}}
{{- end -}}

{{- /* Around it */ -}}
{{- range $resource := list "cpu" "memory" -}}
{{- $request := dig "requests" $resource "" $resources -}}
{{- $limit := dig "limits" $resource "" $resources -}}
{{- $numbers := list (include "checkpoint-ready.quantity" $request) (include "checkpoint-ready.quantity" $limit) -}}
{{- if and (first $numbers) (last $numbers) (gt (first $numbers | float64) (last $numbers | float64)) -}}
{{- $problems = append $problems (printf "resources.requests.%s=%s is above resources.limits.%s=%s: raise both." $resource (include "checkpoint-ready.plain" $request) $resource (include "checkpoint-ready.plain" $limit)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.monitoring.podMonitor $v.monitoring.serviceMonitor -}}
{{- $problems = append $problems "monitoring.podMonitor and monitoring.serviceMonitor would count everything twice: keep one." -}}
{{- end -}}
{{- range $name, $_ := $v.extraEnv -}}
{{- if hasPrefix "CHECKPOINT_READY_" $name -}}
{{- $problems = append $problems (printf "extraEnv.%s is a setting of ours: write it under config without the prefix, or as the value of its own." $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.replay.existingSecret (or (not $sasl) $v.strimzi.enabled) -}}
{{- $problems = append $problems "replay.existingSecret is a login for kafka.securityProtocol SASL_SSL without strimzi: unset it." -}}
{{- end -}}
{{- if $v.strimzi.enabled -}}
{{- if not $v.strimzi.cluster -}}
{{- $problems = append $problems "strimzi.enabled needs strimzi.cluster, the name of the Kafka resource." -}}
{{- end -}}
{{- if not $v.shards -}}
{{- $problems = append $problems "strimzi.enabled needs shards, the partitions of the topics it makes: set it to the widest input's partitions, 3 at least." -}}
{{- end -}}
{{- if $v.topics.create -}}
{{- $problems = append $problems "strimzi.enabled makes the topics: set topics.create=false." -}}
{{- end -}}
{{- if $v.kafka.tls.clientSecret -}}
{{- $problems = append $problems "strimzi.enabled makes the client's certificate: leave kafka.tls.clientSecret empty." -}}
{{- end -}}
{{- end -}}

{{- if $problems -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}
