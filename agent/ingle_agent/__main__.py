from ingle_agent.main import main

main()
